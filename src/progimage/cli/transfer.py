"""The commands that move images: export and import. They need no running service, and may run beside one."""

import hashlib
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from progimage.cli.environment import as_json, checked, load_settings, opened, run, show
from progimage.cli.progress import Progress
from progimage.cli.service import transformations_of

if TYPE_CHECKING:
    from progimage.images.library import Options
    from progimage.settings import Settings
    from progimage.storage import BlobStore
    from progimage.transfer.journal import Entry, Journal
    from progimage.transfer.layouts import Layout
    from progimage.transfer.stores import File, Store

_LABEL = click.option("--label", "labels", multiple=True, help="A label; several times.")


@click.command(
    "export",
    epilog="""\b
Examples:
  progimage export /backup/images
  progimage export /backup/shop --owner shop --label catalogue --after 2027-01-01
  cd /backup/images && jq -r '"\\(.sha256)  \\(.file)"' images.ndjson | sha256sum --check --quiet

TARGET gets the originals as plain files, and images.ndjson with a line for each image; docs/migration.md says what is
in it. An export that was broken off goes on where it was, and a finished one is brought up to date, when it is run
again. Exits with 1 if an original is damaged or missing; all others are exported.""",
)
@click.argument("target", type=click.Path(file_okay=False))
@click.option("--owner", help="Only those of one owner.  [default: of all]")
@click.option("--label", "labels", multiple=True, help="Only those with this label; several times: with all of them.")
@click.option("--format", help="Only those of a container format, such as JPEG.")
@click.option("--after", help="Only those uploaded since this date.")
@click.option("--before", help="Only those uploaded before this date.")
@click.option("--at-once", type=click.IntRange(1, 64), default=8, show_default=True, help="How many at a time.")
@as_json
def export(target: str, at_once: int, json_: bool, labels: tuple[str, ...], **filters: str | None) -> None:
    """Write all originals as plain files, and what is known of them as JSON lines."""
    import asyncio

    from progimage.deployment import open_blobs
    from progimage.images.options import image_filter
    from progimage.storage import Record
    from progimage.transfer import exporting

    if "://" in target or not target:
        raise click.UsageError(f"TARGET is a folder, not {target!r}. `progimage backup` writes to buckets, too.")
    settings = load_settings()
    pairs = [*((name, value) for name, value in filters.items() if value), *(("label", label) for label in labels)]
    wanted = checked(lambda _: image_filter(pairs), "")

    with opened(settings, stores=True) as (catalogue, _):

        def totals(more: Callable[[int, int], None]) -> None:
            more(*asyncio.run(exporting.count(catalogue, wanted)))

        with Progress(totals) as progress:

            def failed(record: Record, problem: str) -> None:
                progress.print(f"{record.reference}: {problem}")

            try:
                blobs = open_blobs(settings)
                done = run(
                    exporting.export(
                        catalogue, blobs, Path(target).absolute(), wanted, at_once, failed, progress.advance
                    )
                )
            except exporting.NotAnExport as error:
                raise click.ClickException(str(error)) from None
            except OSError as error:
                again = "Run it again, and it goes on where it was."
                raise click.ClickException(f"{target} can't be written: {error.strerror}. {again}") from None
    if json_:
        show([done], (), json=True)
    there = done.images - done.written
    click.echo(
        f"{done.images} images, {done.bytes} bytes: {done.written} written, {there} were there already,"
        f" {done.failed} failed",
        err=True,
    )
    sys.exit(1 if done.failed else 0)


@click.command(
    "import",
    epilog="""\b
Examples:
  progimage import /backup/images                                an export, with its references
  progimage import ~/Pictures --owner shop --label archive
  AWS_REGION=eu-west-1 progimage import s3://bucket/prefix --report report.ndjson
  progimage import /data/thumbor/storage --from thumbor --urls urls.txt

An import that was broken off goes on where it was when it is run again, and one that is run twice stores nothing
twice. Uploads to a service on another machine are made by `progimage put`. Exits with 1 if a file is not an
image or could not be stored; it is named, and all others are stored.""",
)
@click.argument("source", metavar="FOLDER|URL")
@click.option(
    "--from", "layout", type=click.Choice(["export", "files", "thumbor"]),
    help="What it is.  [default: an export if it has an export.json, else files]",
)  # fmt: skip
@click.option("--owner", help="Whose the images will be.  [default: default, or what the export says]")
@_LABEL
@click.option("--metadata", "pairs", multiple=True, metavar="NAME=TEXT", help="To keep with them; several times.")
@click.option("--visibility", type=click.Choice(["public", "signed", "key"]), help="Who may read them.")
@click.option("--expires", help="Until when they are there: a date, or a duration such as 30d.")
@click.option("--damaged", type=click.Choice(["refuse", "accept"]), help="Whether to keep what has lost pixels.")
@click.option("--urls", type=click.File("r", encoding="utf-8"), help="The URLs of thumbor's images, a line for each.")
@click.option(
    "--option", "store_options", multiple=True, metavar="NAME=VALUE",
    help="What a cloud store is told, such as endpoint=…; several times. Secrets are better in its own variables.",
)  # fmt: skip
@click.option("--journal", type=click.Path(dir_okay=False, path_type=Path), help="What it goes on by.")
@click.option("--report", type=click.File("wb", lazy=True), help="The file for a line of JSON about each file.")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="How many images are decoded at once.  [default: one a core]"
)
@as_json
def import_(
    source: str,
    layout: str | None,
    owner: str | None,
    urls: Any,
    store_options: tuple[str, ...],
    journal: Path | None,
    report: Any,
    workers: int | None,
    json_: bool,
    **said: Any,
) -> None:
    """Store the images of a folder, of a bucket, of thumbor's file storage, or of an export."""
    from progimage.transfer.importing import Stopped
    from progimage.transfer.layouts import is_export
    from progimage.transfer.stores import StoreUnavailable, open_store

    settings = load_settings()
    settings = settings.model_copy(update={"http_processes": 1, "workers": workers or settings.workers})
    options = _options(said)
    try:
        store = open_store(source, transformations_of(store_options))
        layout = layout or ("export" if is_export(store) else "files")
    except (ValueError, OSError, StoreUnavailable) as error:
        raise click.ClickException(str(error)) from None
    if layout == "export" and (owner or any(said.values())):
        raise click.UsageError("An export says itself what its images have; leave out --owner, --label and so on.")
    if urls and layout != "thumbor":
        raise click.UsageError("--urls goes with --from thumbor.")
    owner = _checked_owner(owner or "default")
    about = {"source": _absolute(source), "layout": layout, "owner": owner if layout != "export" else ""}
    with opened(settings, stores=True, make=True) as (_, changes), _journal(settings, journal, about) as kept:
        found = _layout(layout, store, owner, options, kept, urls)
        try:
            counts = _take_in(settings, changes, store, found, kept)
        except (Stopped, StoreUnavailable) as error:
            raise click.ClickException(f"{error} Run it again, and it goes on where it was.") from None
        if report:
            for line in kept.report():
                report.write(line)
    if json_:
        show([counts], (), json=True)
    click.echo(", ".join(f"{number} {name}" for name, number in counts.items()), err=True)
    sys.exit(1 if counts["failed"] else 0)


def _take_in(
    settings: "Settings", changes: Any, store: "Store", layout: "Layout", journal: "Journal"
) -> dict[str, int]:
    """Take in what is not done yet, and return how many files had which outcome."""
    from progimage.transfer.importing import Importer, opened_library
    from progimage.transfer.journal import Outcome
    from progimage.transfer.stores import StoreUnavailable

    at_once = 2 * settings.workers_per_process  # while one is decoded, the next is read

    def totals(more: Callable[[int, int], None]) -> None:
        with suppress(StoreUnavailable):  # which ends the import as well
            for item in layout.items():
                more(1, item.file.size)

    def told(file: "File", entry: "Entry") -> None:
        if entry.outcome is Outcome.FAILED:
            progress.print(f"{file.shown}: {entry.problem}")

    async def take_in() -> dict[str, int]:
        async with opened_library(settings, changes, at_once) as parts:
            importer = Importer(parts.library, parts.ingest, store, journal, told, progress.advance)
            await importer.run(layout, at_once)
        outcomes = {str(outcome): importer.counts[outcome] for outcome in Outcome}
        return {**outcomes, "done before": importer.before}

    with Progress(totals) as progress:
        return run(take_in())


def adopted(settings: "Settings", changes: Any, blobs: "BlobStore", names: Sequence[str], owner: str) -> int:
    """Make originals that only the store knows images of an owner, and return how many became images."""
    from progimage.images.library import Options
    from progimage.transfer.layouts import PlainFiles
    from progimage.transfer.stores import StoredOriginals

    owner = _checked_owner(owner)
    settings = settings.model_copy(update={"http_processes": 1})
    store = StoredOriginals(blobs, names)
    with _journal(settings, None, {"source": "the store of originals", "layout": "adopt", "owner": owner}) as journal:
        counts = _take_in(settings, changes, store, PlainFiles(store, owner, Options()), journal)
    return counts["stored"] + counts["there"]


def _layout(name: str, store: "Store", owner: str, options: "Options", journal: "Journal", urls: Any) -> "Layout":
    from progimage.transfer.layouts import ExportedFiles, PlainFiles, ThumborFiles, thumbor_digests

    if name == "files":
        return PlainFiles(store, owner, options)
    if name == "export":
        try:
            return ExportedFiles(store)
        except ValueError as error:
            raise click.ClickException(str(error)) from None
    if urls:
        try:
            journal.know_urls(thumbor_digests(urls))
        except UnicodeDecodeError as error:
            raise click.ClickException(f"The file of --urls is not UTF-8: {error}") from None
    return ThumborFiles(store, owner, options, journal)


def _options(said: dict[str, Any]) -> "Options":
    """Read the options as an upload's are read."""
    import msgspec

    from progimage.images.options import upload_options

    pairs = [(name, said[name]) for name in ("visibility", "expires", "damaged") if said[name]]
    pairs += [("label", label) for label in said["labels"]]
    if said["pairs"]:
        pairs.append(("metadata", msgspec.json.encode(transformations_of(said["pairs"])).decode()))
    return checked(lambda _: upload_options(pairs), "")


@contextmanager
def _journal(settings: "Settings", path: Path | None, about: dict[str, str]) -> "Iterator[Journal]":
    from progimage.storage.durable import PRIVATE, make_folder
    from progimage.transfer.journal import Journal, OtherJournal

    if path is None:
        folder = settings.data_dir.absolute() / "imports"
        make_folder(folder, PRIVATE)
        path = folder / f"{hashlib.sha256(repr(sorted(about.items())).encode()).hexdigest()[:16]}.journal"
    try:
        journal = Journal(path, about)
    except (OtherJournal, OSError) as error:
        raise click.ClickException(str(error)) from None
    try:
        yield journal
    except sqlite3.Error as error:
        raise click.ClickException(f"The journal {path} can't be written: {error}.") from None
    finally:
        journal.close()


def _absolute(source: str) -> str:
    return source if "://" in source else str(Path(source).resolve())


def _checked_owner(owner: str) -> str:
    from progimage.auth import is_owner

    if not is_owner(owner):
        raise click.ClickException(f"No owner can be called {owner!r}.")
    return owner
