"""Maintenance commands: scrub, check, adopt, doctor, sweeps, jobs."""

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
@click.option("--rate", type=click.IntRange(min=0), default=0, help="Bytes per second.  [default: unlimited]")
@click.option(
    "--days", type=click.IntRange(min=0), default=0, help="Skip originals verified in the last N days.  [default: 0]"
)
@as_json
def scrub(rate: int, days: int, json_: bool) -> None:
    """Verify the hash of every original, and restore damaged ones from the second store.

    Prints originals that aren't intact. Exits with 1 if one is damaged or missing and could not be restored.
    """
    from progimage import clock
    from progimage.deployment import StoreWatch, open_blobs, open_originals
    from progimage.jobs.scrub import Scrubber
    from progimage.storage import ScratchFolder

    settings = load_settings()
    states: Counter[str] = Counter()

    async def check() -> None:
        async for finding in scrubber.scrub(clock.now() - days * 86400):
            states[finding.state] += 1
            if finding.state != "whole":
                show([finding], ("sha256", "bytes", "state"), json=json_)

    with opened(settings, stores=True) as (catalogue, changes):
        scratch = ScratchFolder(settings.scratch_folder)
        try:
            blobs = open_blobs(settings)
            StoreWatch(settings, catalogue, blobs).begin()
            scrubber = Scrubber(catalogue.inventory, open_originals(settings, catalogue, blobs, changes, scratch), rate)
            run(check())
        finally:
            scratch.close()
    click.echo(", ".join(f"{count} {state}" for state, count in states.items()) or "nothing to check", err=True)
    sys.exit(1 if states["damaged"] + states["missing"] else 0)


@click.command(
    epilog="""\b
Examples:
  progimage check
  progimage check --deep --repair
  progimage check --repair --adopt recovered

The service can keep running. The check finds missing or damaged originals; originals in the store without a row in the
database; missing or orphaned smaller copies; cached renditions of deleted originals; and counts that don't match the
rows. --repair restores originals from the second store, stops using missing smaller copies, removes orphaned ones, and
corrects the counts. It never removes an original."""
)
@click.option("--deep", is_flag=True, help="Read all originals and smaller copies, and verify their hashes.")
@click.option("--repair", is_flag=True, help="Repair what can be repaired.")
@click.option("--adopt", "owner", metavar="OWNER", help="Turn originals without a row into images of this owner.")
@as_json
def check(deep: bool, repair: bool, owner: str | None, json_: bool) -> None:
    """Check that database, store and caches agree, and repair what doesn't.

    Exits with 1 if a fault was found and not repaired.
    """
    from progimage.cli.transfer import adopted
    from progimage.consistency import ConsistencyCheck, Fault
    from progimage.deployment import StoreWatch, open_blobs, open_originals, open_renditions
    from progimage.storage import ScratchFolder

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
        # Not in the data folder: its disk may be full.
        with tempfile.TemporaryDirectory(prefix="progimage-") as scratch:
            async for fault in checking.run(Path(scratch) / "listing"):
                found(fault)

    with opened(settings, stores=True) as (catalogue, changes):
        scratch, blobs = ScratchFolder(settings.scratch_folder), open_blobs(settings)
        try:
            StoreWatch(settings, catalogue, blobs).begin()
            checking = ConsistencyCheck(
                catalogue, blobs, open_originals(settings, catalogue, blobs, changes, scratch),
                open_renditions(settings, scratch), settings.orphan_grace_seconds, deep=deep, repair=repair,
            )  # fmt: skip
            run(examine())
        finally:
            scratch.close()
        if owner and unknown:
            wrong -= adopted(settings, changes, blobs, unknown, owner)
    click.echo(", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no faults found", err=True)
    sys.exit(1 if wrong else 0)


@click.command()
def adopt() -> None:
    """Make the configured database and stores one deployment, whatever they belonged to before.

    Stop the service first. Prints the ID of the deployment.
    """
    from progimage.deployment import identify_stores

    settings = load_settings()
    with opened(settings, make=True) as (catalogue, _):
        deployment = identify_stores(settings, catalogue.database, adopt=True)
    if deployment is None:
        raise click.ClickException("A store in memory can't belong to a deployment.")
    click.echo(deployment)


@click.command()
@as_json
def doctor(json_: bool) -> None:
    """Check a deployment: settings, folders, database, stores, workers and security.

    Exits with 1 if there is an error; warnings alone don't change the exit code.
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
    sys.exit(1 if any(result.verdict == "error" for result in found) else 0)


@click.group()
def sweeps() -> None:
    """Show whether expiry and purging are stopped, and resume them."""


@sweeps.command("show")
@as_json
def show_sweeps(json_: bool) -> None:
    """Show whether expiry and purging are stopped, and why. Exits with 1 if they are."""
    settings = load_settings()
    with opened(settings) as (catalogue, _):
        state = run(catalogue.clock.look())
    if json_:
        show([state], (), json=True)
    else:
        click.echo("sweeps are running" if state.is_trusted else state.reason())
    sys.exit(0 if state.is_trusted else 1)


@sweeps.command("resume")
def resume_sweeps() -> None:
    """Confirm that the clock is correct, and resume expiry and purging with the next sweep."""
    from progimage import clock

    settings = load_settings()
    with opened(settings) as (catalogue, _):
        run(catalogue.clock.resume())
    click.echo(f"confirmed the time {clock.utc_now():%Y-%m-%d %H:%M:%S} UTC; sweeps resume", err=True)


@click.group()
def jobs() -> None:
    """Show and retry background jobs: pre-rendering, imports, purges, sweeps, scrubbing."""


@jobs.command("list")
@click.option("--kind", help="prerender, purge, import, sweep, trim or scrub.  [default: all]")
@click.option(
    "--state", type=click.Choice(["waiting", "running", "done", "failed"]), help="State of the jobs.  [default: any]"
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Maximum number of jobs.")
@as_json
def list_jobs(kind: str | None, state: str | None, limit: int, json_: bool) -> None:
    """List jobs, newest first."""
    from progimage.jobs import State

    with _queue() as queue:
        found = run(queue.find(kind=kind, state=State(state) if state else None, limit=limit))
        show(found, _JOB_COLUMNS, json=json_)


@jobs.command("show")
@click.argument("id")
@as_json
def show_job(id: str, json_: bool) -> None:
    """Show a job with all its parts. Exits with 1 if one of them failed."""
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
    """Retry the failed parts of a job."""
    with _queue() as queue:
        failed = run(queue.retry(run(queue.get(id))))
    click.echo(f"{len(failed)} queued again", err=True)


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
