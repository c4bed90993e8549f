"""The commands that look after a deployment: are the stored bytes whole, and is everything as it should be?"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from progimage.cli.environment import as_json, load_settings, opened, run, show

if TYPE_CHECKING:
    from progimage.jobs import JobQueue


@click.command()
@click.option("--rate", type=click.IntRange(min=0), default=0, help="Bytes a second.  [default: as fast as it can]")
@click.option(
    "--days", type=click.IntRange(min=0), default=0, help="Leave out what was checked so lately.  [default: 0]"
)
@as_json
def scrub(rate: int, days: int, json_: bool) -> None:
    """Read every original again, hold it against its hash, and restore what is damaged from the second store.

    What is not whole is printed. Ends with 1 if an original is damaged or missing and could not be restored.
    """
    from progimage import clock
    from progimage.deployment import StoreWatch, open_blobs, open_originals
    from progimage.jobs.scrub import Scrubber
    from progimage.storage import Spool

    settings = load_settings()
    states: Counter[str] = Counter()

    async def check() -> None:
        async for finding in scrubber.scrub(clock.now() - days * 86400):
            states[finding.state] += 1
            if finding.state != "whole":
                show([finding], ("sha256", "bytes", "state"), json=json_)

    with opened(settings, stores=True) as (catalogue, changes):
        spool = Spool(settings.data_dir.absolute() / "spool")
        try:
            blobs = open_blobs(settings)
            StoreWatch(settings, catalogue, blobs).begin()
            scrubber = Scrubber(catalogue.inventory, open_originals(settings, catalogue, blobs, changes, spool), rate)
            run(check())
        finally:
            spool.close()
    click.echo(", ".join(f"{count} {state}" for state, count in states.items()) or "nothing to check", err=True)
    sys.exit(1 if states["damaged"] + states["missing"] else 0)


@click.command(
    epilog="""\b
Examples:
  progimage check
  progimage check --deep --repair
  progimage check --repair --adopt recovered

It runs beside the service. What it finds: originals that are missing or damaged; originals in the store that no row
of the database names; smaller copies that are missing, or that nobody needs; cached renditions of what is gone; and
counts that are not what the rows say. --repair restores originals from the second store, has smaller copies that are
missing left out, removes what nobody needs, and counts again. It never removes an original."""
)
@click.option("--deep", is_flag=True, help="Read all originals, and hold them against their hashes.")
@click.option("--repair", is_flag=True, help="Put right what can be.")
@click.option("--adopt", "owner", metavar="OWNER", help="Make originals that no row names images of this owner.")
@as_json
def check(deep: bool, repair: bool, owner: str | None, json_: bool) -> None:
    """Check that database, store and caches say the same, and repair what does not.

    Exits with 1 if something is wrong and was not repaired.
    """
    from progimage.cli.transfer import adopted
    from progimage.consistency import ConsistencyCheck, Fault
    from progimage.deployment import StoreWatch, open_blobs, open_originals, open_renditions
    from progimage.storage import Spool

    settings = load_settings()
    kinds: Counter[str] = Counter()
    unknown: list[str] = []
    wrong = 0

    def found(fault: Fault) -> None:
        nonlocal wrong
        kinds[fault.kind] += 1
        wrong += not fault.repaired
        if fault.kind == "unknown-original":
            unknown.append(fault.name)
        if json_:
            show([fault], (), json=True)
        else:
            click.echo(
                f"{fault.kind:<20} {fault.name} {fault.detail}{' (repaired)' if fault.repaired else ''}".rstrip()
            )

    async def examine() -> None:
        # Not in the data folder, which may be full.
        with tempfile.TemporaryDirectory(prefix="progimage-") as scratch:
            async for fault in checking.run(Path(scratch) / "listing"):
                found(fault)

    with opened(settings, stores=True) as (catalogue, changes):
        spool, blobs = Spool(settings.data_dir.absolute() / "spool"), open_blobs(settings)
        try:
            StoreWatch(settings, catalogue, blobs).begin()
            checking = ConsistencyCheck(
                catalogue, blobs, open_originals(settings, catalogue, blobs, changes, spool),
                open_renditions(settings, spool), settings.orphan_grace_seconds, deep=deep, repair=repair,
            )  # fmt: skip
            run(examine())
        finally:
            spool.close()
        if owner and unknown:
            wrong -= adopted(settings, changes, blobs, unknown, owner)
    click.echo(", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "all is well", err=True)
    sys.exit(1 if wrong else 0)


@click.command()
def adopt() -> None:
    """Make the database and the stores that are set one deployment, whatever they belonged to before.

    Stop the service first. Prints the id of the deployment, which all of them get.
    """
    from progimage.deployment import identify_stores

    settings = load_settings()
    with opened(settings, make=True) as (catalogue, _):
        deployment = identify_stores(settings, catalogue.database, adopt=True)
    if deployment is None:
        raise click.ClickException("Originals in memory belong to no deployment.")
    click.echo(deployment)


@click.command()
@as_json
def doctor(json_: bool) -> None:
    """Check a deployment: its settings, its folders, database, stores and workers, and what protects it.

    Ends with 1 if something is wrong; what is only worth a thought is no reason for that.
    """
    from progimage.doctor import examine

    settings = load_settings()
    with opened(settings, make=True) as (catalogue, _):
        found = run(examine(settings, catalogue))
    if json_:
        show(found, (), json=True)
    else:
        for result in found:
            click.echo(f"{result.verdict:<8} {result.what:<14} {result.detail}")
    sys.exit(1 if any(result.verdict == "wrong" for result in found) else 0)


@click.group()
def sweeps() -> None:
    """Show whether expiry and purging are stopped, and resume them."""


@sweeps.command("show")
@as_json
def show_sweeps(json_: bool) -> None:
    """Show whether expiry and purging wait, and for what. Exits with 1 if they do."""
    settings = load_settings()
    with opened(settings) as (catalogue, _):
        state = run(catalogue.clock.look())
    if json_:
        show([state], (), json=True)
    else:
        click.echo("sweeps go on" if state.is_trusted else state.reason())
    sys.exit(0 if state.is_trusted else 1)


@sweeps.command("resume")
def resume_sweeps() -> None:
    """Confirm that the clock is right, and let the next sweep expire and purge images again."""
    from progimage import clock

    settings = load_settings()
    with opened(settings) as (catalogue, _):
        run(catalogue.clock.resume())
    click.echo(f"it is {clock.utc_now():%Y-%m-%d %H:%M:%S} UTC; sweeps go on", err=True)


@click.group()
def jobs() -> None:
    """See how far work in the background is: pre-rendering, imports, purges, sweeps, scrubbing."""


@jobs.command("list")
@click.option("--kind", help="prerender, purge, import, sweep, trim or scrub.  [default: all]")
@click.option(
    "--state", type=click.Choice(["waiting", "running", "done", "failed"]), help="How far they are.  [default: any]"
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many at most.")
@as_json
def list_jobs(kind: str | None, state: str | None, limit: int, json_: bool) -> None:
    """List jobs, the newest first."""
    from progimage.jobs import State

    with _queue() as queue:
        found = run(queue.find(kind=kind, state=State(state) if state else None, most=limit))
        show(found, _JOB_COLUMNS, json=json_)


@jobs.command("show")
@click.argument("id")
@as_json
def show_job(id: str, json_: bool) -> None:
    """Show a job, or all parts of one; ends with 1 if one of them failed."""
    from progimage.jobs import State

    with _queue() as queue:
        parts = run(queue.get(id))
    show(parts, _JOB_COLUMNS, json=json_)
    states = Counter(part.state for part in parts)
    click.echo(", ".join(f"{count} {state}" for state, count in states.items()), err=True)
    sys.exit(1 if states[State.FAILED] else 0)


@jobs.command("retry")
@click.argument("id")
def retry_job(id: str) -> None:
    """Have what failed of a job done again."""
    with _queue() as queue:
        failed = run(queue.retry(run(queue.get(id))))
    click.echo(f"{len(failed)} put into the queue again", err=True)


_JOB_COLUMNS = ("id", "kind", "owner", "state", "arguments", "result", "problem")


@contextmanager
def _queue() -> "Iterator[JobQueue]":
    from progimage.deployment import open_jobs
    from progimage.jobs import UnknownJob
    from progimage.storage import DatabaseUnavailable

    settings = load_settings()
    queue = open_jobs(settings)
    try:
        with opened(settings):
            run(queue.adopt())
        yield queue
    except UnknownJob as error:
        raise click.ClickException(f"There is no job {error}.") from None
    except DatabaseUnavailable as error:
        raise click.ClickException(str(error)) from None
    finally:
        queue.close()
