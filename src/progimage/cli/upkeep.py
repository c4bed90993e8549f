"""The commands that look after a deployment: are the stored bytes whole, and is everything as it should be?"""

import sys
import time
from collections import Counter

import click

from progimage.cli.environment import as_json, load_settings, opened, run, show


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
    from progimage.deployment import open_blobs, open_scrubber
    from progimage.storage import Spool

    settings = load_settings()
    states: Counter[str] = Counter()

    async def check() -> None:
        async for finding in scrubber.scrub(time.time() - days * 86400):
            states[finding.state] += 1
            if finding.state != "whole":
                show([finding], ("sha256", "bytes", "state"), json=json_)

    with opened(settings) as (catalogue, _):
        spool = Spool(settings.data_dir.absolute() / "spool")
        try:
            scrubber = open_scrubber(settings, catalogue, open_blobs(settings), spool, rate)
            run(check())
        finally:
            spool.close()
    click.echo(", ".join(f"{count} {state}" for state, count in states.items()) or "nothing to check", err=True)
    sys.exit(1 if states["damaged"] + states["missing"] else 0)


@click.command()
@as_json
def doctor(json_: bool) -> None:
    """Check a deployment: its settings, its folders, database, stores and workers, and what protects it.

    Ends with 1 if something is wrong; what is only worth a thought is no reason for that.
    """
    from progimage.doctor import examine

    settings = load_settings()
    with opened(settings) as (catalogue, _):
        found = run(examine(settings, catalogue))
    if json_:
        show(found, (), json=True)
    else:
        for result in found:
            click.echo(f"{result.verdict:<8} {result.what:<14} {result.detail}")
    sys.exit(1 if any(result.verdict == "wrong" for result in found) else 0)
