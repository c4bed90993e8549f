"""Commands that move images: export and import. They need no running service, but one can keep running."""

import hashlib
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from progimage.cli.environment import as_json, checked, checked_owner, load_settings, opened, run, show
from progimage.cli.progress import Progress
from progimage.cli.service import transformations_of

if TYPE_CHECKING:
    from progimage.images.library import UploadOptions
    from progimage.settings import Settings
    from progimage.storage import BlobStore
    from progimage.transfer.journal import Entry, Journal
    from progimage.transfer.layouts import Layout
    from progimage.transfer.stores import File, Store

_LABEL = click.option("--label", "labels", multiple=True, help="Label of the images; repeatable.")


@click.command(
    "export",
    epilog="""\b
Examples:
  progimage export /backup/images
  progimage export /backup/shop --owner shop --label catalogue --after 2027-01-01
  cd /backup/images && jq -r '"\\(.sha256)  \\(.file)"' images.ndjson | sha256sum --check --quiet

Writes the originals to TARGET as plain files, and images.ndjson with one line per image; docs/migration.md describes
its fields. Run the command again to continue after an interruption, or to update a finished export. Exits with 1 if
an original is damaged or missing; all others are exported.""",
)
@click.argument("target", type=click.Path(file_okay=False))
@click.option("--owner", help="Only images of this owner.  [default: all owners]")
@click.option("--label", "labels", multiple=True, help="Only images with this label; if repeated, with all of them.")
@click.option("--format", help="Only images of this format, such as JPEG.")
@click.option("--after", help="Only images uploaded since this date.")
@click.option("--before", help="Only images uploaded before this date.")
@click.option(
    "--at-once", type=click.IntRange(1, 64), default=8, show_default=True, help="Number of files written at once."
)
@as_json
def export(target: str, at_once: int, json_: bool, labels: tuple[str, ...], **filters: str | None) -> None:
    """Write all originals as plain files, and their metadata as JSON lines."""
    import asyncio

    from progimage.deployment import open_blobs
    from progimage.images.options import image_filter
    from progimage.storage import Record
    from progimage.transfer import exporting

    if "://" in target or not target:
        raise click.UsageError(f"TARGET must be a folder, not {target!r}. `progimage backup` can write to buckets.")
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
                again = "Run the command again to continue."
                raise click.ClickException(f"{target} can't be written: {error.strerror}. {again}") from None
    if json_:
        show([done], (), json=True)
    there = done.images - done.written
    click.echo(
        f"{done.images} images, {done.bytes} bytes: {done.written} written, {there} already there,"
        f" {done.failed} failed",
        err=True,
    )
    sys.exit(1 if done.failed else 0)


@click.command(
    "import",
    epilog="""\b
Examples:
  progimage import /backup/images                                an export; keeps its references
  progimage import ~/Pictures --owner shop --label archive
  AWS_REGION=eu-west-1 progimage import s3://bucket/prefix --report report.ndjson
  progimage import /data/thumbor/storage --from thumbor --urls urls.txt

After an interruption, run the command again to continue; nothing is stored twice. To upload to a service on another
machine, use `progimage put`. Exits with 1 if a file isn't an image or could not be stored; each of these is reported,
and all others are stored.""",
)
@click.argument("source", metavar="FOLDER|URL")
@click.option(
    "--from", "layout", type=click.Choice(["export", "files", "thumbor"]),
    help="Layout of the source.  [default: export if it has an export.json, else files]",
)  # fmt: skip
@click.option("--owner", help="Owner of the images.  [default: default, or the owner in the export]")
@_LABEL
@click.option("--metadata", "pairs", multiple=True, metavar="NAME=TEXT", help="Metadata of the images; repeatable.")
@click.option("--visibility", type=click.Choice(["public", "signed", "key"]), help="Who may read the images.")
@click.option("--expires", help="When the images expire: a date, or a duration such as 30d.")
@click.option("--damaged", type=click.Choice(["refuse", "accept"]), help="Whether to accept images with lost pixels.")
@click.option(
    "--urls", type=click.File("r", encoding="utf-8"), help="File with the URLs of thumbor's images, one per line."
)
@click.option(
    "--option", "store_options", multiple=True, metavar="NAME=VALUE",
    help="Option of the cloud store, such as endpoint=…; repeatable. Set secrets in the cloud's own variables instead.",
)  # fmt: skip
@click.option(
    "--journal", type=click.Path(dir_okay=False, path_type=Path),
    help="File that records progress, to continue after an interruption.  [default: in the data folder]",
)  # fmt: skip
@click.option(
    "--report", type=click.File("wb", lazy=True), help="File to write a report to: one line of JSON per file."
)
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Number of images decoded at once.  [default: one per core]"
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
    """Store the images in a folder, a bucket, the file storage of thumbor, or an export."""
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
        raise click.UsageError("An export contains its own options: --owner, --label and so on are not allowed.")
    if urls and layout != "thumbor":
        raise click.UsageError("--urls requires --from thumbor.")
    owner = checked_owner(owner or "default")
    about = {"source": _absolute(source), "layout": layout, "owner": owner if layout != "export" else ""}
    with opened(settings, stores=True, make=True) as (_, changes), _journal(settings, journal, about) as kept:
        found = _layout(layout, store, owner, options, kept, urls)
        try:
            counts = _take_in(settings, changes, store, found, kept)
        except (Stopped, StoreUnavailable) as error:
            raise click.ClickException(f"{error} Run the command again to continue.") from None
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
    """Import the remaining files, and return the number of files for each outcome."""
    from progimage.transfer.importing import Importer, opened_library
    from progimage.transfer.journal import Outcome
    from progimage.transfer.stores import StoreUnavailable

    at_once = 2 * settings.workers_per_process  # read the next file while one is decoded

    def totals(more: Callable[[int, int], None]) -> None:
        with suppress(StoreUnavailable):  # it also ends the import itself
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
    """Turn originals without a row into images of an owner, and return how many."""
    from progimage.images.library import UploadOptions
    from progimage.transfer.layouts import PlainFiles
    from progimage.transfer.stores import StoredOriginals

    owner = checked_owner(owner)
    settings = settings.model_copy(update={"http_processes": 1})
    store = StoredOriginals(blobs, names)
    with _journal(settings, None, {"source": "the store of originals", "layout": "adopt", "owner": owner}) as journal:
        counts = _take_in(settings, changes, store, PlainFiles(store, owner, UploadOptions()), journal)
    return counts["stored"] + counts["there"]


def _layout(name: str, store: "Store", owner: str, options: "UploadOptions", journal: "Journal", urls: Any) -> "Layout":
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
            raise click.ClickException(f"The --urls file is not UTF-8: {error}") from None
    return ThumborFiles(store, owner, options, journal)


def _options(said: dict[str, Any]) -> "UploadOptions":
    """Parse the options like those of an upload."""
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
