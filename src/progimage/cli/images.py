"""Commands for the images of a running service: put, get, info, list, rm."""

import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from progimage.cli.environment import as_json, show
from progimage.cli.pictures import can_show, lines_of, room
from progimage.cli.service import asks_service, transformations_of

if TYPE_CHECKING:
    from progimage.client import Client, Image

_STDIN = "-"
_COLUMNS = ("reference", "format", "size", "bytes", "uploaded", "labels", "filename")
_LABEL = click.option("--label", "labels", multiple=True, help="Label; repeatable.")


@click.command(
    epilog="""\b
Examples:
  progimage put photo.jpg
  progimage put ~/Pictures --label archive --at-once 8
  curl -s https://example.org/a.png | progimage put -

Files whose bytes are already stored are skipped, so after an interruption you can run the command again to continue.
Exits with 1 if a file could not be stored; each of these is reported, and all others are stored."""
)
@click.argument("sources", nargs=-1, required=True, metavar="FILE|FOLDER|URL|-...")
@_LABEL
@click.option("--visibility", type=click.Choice(["public", "signed", "key"]), help="Who may read the images.")
@click.option("--expires", help="When the images expire: a date, or a duration such as 30d.")
@click.option("--metadata", "pairs", multiple=True, metavar="NAME=TEXT", help="Metadata of the images; repeatable.")
@click.option("--damaged", type=click.Choice(["refuse", "accept"]), help="Whether to accept images with lost pixels.")
@click.option("--again", is_flag=True, help="Also store files that are already stored.")
@click.option("--at-once", type=click.IntRange(1, 64), default=4, show_default=True, help="Number of parallel uploads.")
@as_json
@asks_service
def put(
    client: "Client",
    sources: tuple[str, ...],
    labels: tuple[str, ...],
    visibility: str | None,
    expires: str | None,
    pairs: tuple[str, ...],
    damaged: str | None,
    again: bool,
    at_once: int,
    json_: bool,
) -> None:
    """Store images and print their references.

    Sources are files, folders (all images in them), URLs, or standard input (-).
    """
    options: dict[str, Any] = {
        "labels": labels,
        "visibility": visibility,
        "expires": expires,
        "metadata": transformations_of(pairs),
        "damaged": damaged,
    }
    if not again and _may_look(client):
        upload: Callable[[str], _Stored] = lambda source: _put_new(client, source, options)  # noqa: E731
    else:
        upload = lambda source: _Stored(source, _put(client, source, options), new=True)  # noqa: E731
    found = list(_found(client, sources))
    done: list[_Stored] = []
    failed = 0
    with ThreadPoolExecutor(at_once) as threads, _progress(len(found)) as advance:
        futures: dict[Future[_Stored], str] = {threads.submit(upload, source): source for source in found}
        try:
            for future in as_completed(futures):
                advance()
                failed += not _report(future, futures[future], done, json=json_, alone=len(found) == 1)
        except KeyboardInterrupt:
            threads.shutdown(cancel_futures=True)
            raise
    if len(found) != 1:
        new = sum(stored.new for stored in done)
        click.echo(f"{new} uploaded, {len(done) - new} already stored, {failed} failed", err=True)
    sys.exit(1 if failed else 0)


@click.command(
    epilog="""\b
Examples:
  progimage get 7d0a… -o photo.jpg
  progimage get 7d0a… -o small.webp width=300 height=300 gravity=smart
  progimage get 7d0a… --format png -o - | display

docs/transformations.md lists all parameters. A flag such as flip needs no value."""
)
@click.argument("reference")
@click.argument("transformations", nargs=-1, metavar="[NAME=VALUE...]")
@click.option("-o", "--output", help="File to write; - is standard output.  [default: the original's file name]")
@click.option(
    "--format",
    "extension",
    help="Extension of the format to convert to.  [default: from --output, or none]",
)
@asks_service
def get(
    client: "Client", reference: str, transformations: tuple[str, ...], output: str | None, extension: str | None
) -> None:
    """Download an original, or a rendition in another format or size."""
    asked = transformations_of(transformations)
    if output == _STDIN:
        with client.stream(reference, extension or ("auto" if asked else None), **asked) as chunks:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
        return
    image = client.info(reference) if output is None or not extension else None
    name = output or (image and image.filename) or reference
    if image and extension is None:
        suffix = Path(name).suffix.lstrip(".").lower()
        if asked and not suffix:
            raise click.UsageError("Choose a format: use --format or an extension in --output.")
        own = suffix in _extensions(client, image.format)
        extension = suffix if asked or (output and suffix and not own) else None
    elif output is None and extension:
        name = f"{Path(name).stem}.{extension}"
    click.echo(client.download(reference, name, extension, **asked))


@click.command(
    epilog="""\b
Examples:
  progimage info 7d0a…
  progimage info photo.heic           needs no service
  progimage info 7d0a… --json | jq .exif"""
)
@click.argument("image", metavar="REFERENCE|FILE")
@click.option("--picture/--no-picture", default=None, help="Show a preview.  [default: on a terminal]")
@as_json
@asks_service
def info(client: "Client", image: str, picture: bool | None, json_: bool) -> None:
    """Show the metadata of a stored image or an image file."""
    import msgspec

    picture = not json_ and (can_show() if picture is None else picture)
    if Path(image).is_file():
        described, shown = _described_file(Path(image), picture=picture)
    else:
        described = msgspec.to_builtins(client.info(image))
        shown = _small(client, image) if picture else None
    if json_:
        show([described], (), json=True)
        return
    if shown:
        click.echo("\n".join(lines_of(shown)))
    for name, value in described.items():
        if value not in (None, [], {}, ""):
            click.echo(f"{name:<16} {_told(value)}")


@click.command(
    "list",
    epilog="""\b
Examples:
  progimage list --label archive
  progimage list --format JPEG --min-bytes 1000000 --json | jq -r .reference""",
)
@_LABEL
@click.option("--format", "format_", help="Only images of this format, such as JPEG.")
@click.option("--sha256", help="Only images whose original has this hash.")
@click.option("--min-bytes", type=int, help="Minimum size of the original, in bytes.")
@click.option("--max-bytes", type=int, help="Maximum size of the original, in bytes.")
@click.option("--after", help="Only images uploaded since this date.")
@click.option("--before", help="Only images uploaded before this date.")
@click.option("--deleted", is_flag=True, help="Only deleted images that can be restored.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Maximum number of images.")
@as_json
@asks_service
def list_(client: "Client", limit: int, json_: bool, format_: str | None, deleted: bool, **filters: Any) -> None:
    """List images, newest first."""
    found = client.list(limit=limit, format=format_, deleted=deleted or None, **filters)
    show(found if json_ else map(_row, found), _COLUMNS, json=json_)


@click.command(
    epilog="""\b
Examples:
  progimage rm 7d0a…
  progimage list --label old --json | jq -r .reference | xargs progimage rm"""
)
@click.argument("references", nargs=-1, required=True)
@click.option("--permanently", is_flag=True, help="Delete for good; the images can't be restored.")
@click.option("--yes", is_flag=True, help="Don't ask for confirmation.")
@asks_service
def rm(client: "Client", references: tuple[str, ...], permanently: bool, yes: bool) -> None:
    """Delete images. They can be restored for a while, unless --permanently is given.

    Exits with 1 if an image didn't exist.
    """
    from progimage.client import ServiceError

    if permanently and not yes:
        click.confirm(f"Permanently delete {len(references)} image(s)?", abort=True)
    missing = 0
    for reference in references:
        try:
            client.delete(reference, permanently=permanently)
        except ServiceError as error:
            if error.status != 404:
                raise
            missing += 1
            click.echo(f"{reference}: {error}", err=True)
    sys.exit(1 if missing else 0)


@dataclass(frozen=True)
class _Stored:
    source: str
    image: "Image"
    new: bool


def _found(client: "Client", sources: Iterable[str]) -> Iterator[str]:
    """Yield the sources, with folders replaced by the image files in them (by extension)."""
    known: set[str] | None = None
    for source in sources:
        if not Path(source).is_dir():
            yield source
            continue
        if known is None:
            known = {f".{end}" for format in client.formats() if format.can_read for end in format.extensions}
        for path in sorted(Path(source).rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
            if path.suffix.lower() in known and not hidden and path.is_file():
                yield str(path)


def _may_look(client: "Client") -> bool:
    """Return whether the key may list images, which is needed to skip stored ones."""
    from progimage.client import ServiceError

    try:
        next(iter(client.list(limit=1)), None)
    except ServiceError as error:
        if error.status not in (401, 403):
            raise
        return False
    return True


def _put_new(client: "Client", source: str, options: dict[str, Any]) -> _Stored:
    """Store a source unless it is a file whose bytes are already stored."""
    if not Path(source).is_file():
        return _Stored(source, _put(client, source, options), new=True)
    with Path(source).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    there = next(iter(client.list(sha256=sha256, limit=1)), None)
    return _Stored(source, there or _put(client, source, options), new=there is None)


def _put(client: "Client", source: str, options: dict[str, Any]) -> "Image":
    return client.put(sys.stdin.buffer.read() if source == _STDIN else source, **options)


def _report(future: "Future[_Stored]", source: str, done: list[_Stored], *, json: bool, alone: bool) -> bool:
    """Print the result for a source, and return whether it is stored."""
    from progimage.client import ProgImageError

    try:
        stored = future.result()
    except (ProgImageError, OSError) as error:
        click.echo(f"{source}: {error}", err=True)
        return False
    done.append(stored)
    if json:
        import msgspec

        show([{"source": source, "new": stored.new, **msgspec.to_builtins(stored.image)}], (), json=True)
    else:
        click.echo(stored.image.reference if alone else f"{stored.image.reference}  {source}")
    return True


def _progress(total: int) -> Any:
    """Return a context manager whose value is called after each source; it shows a progress bar on a terminal."""
    if total < 2 or not sys.stderr.isatty():
        return nullcontext(lambda: None)
    return _Bar(total)


class _Bar:
    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        self._bar = Progress(
            BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Callable[[], None]:
        self._bar.start()
        return lambda: self._bar.advance(self._task)

    def __exit__(self, *error: object) -> None:
        self._bar.stop()


def _extensions(client: "Client", format: str) -> list[str]:
    return next((row.extensions for row in client.formats() if row.name == format), [])


def _small(client: "Client", reference: str) -> bytes | None:
    """Return a preview that fits the terminal, or None if the service refuses to make it."""
    from progimage.client import ServiceError

    width, height = room()
    try:
        return client.get(reference, "png", width=width, height=height, fit="inside", page=1)
    except ServiceError as error:
        click.echo(f"No preview: {error}", err=True)
        return None


def _described_file(path: Path, *, picture: bool) -> tuple[dict[str, Any], bytes | None]:
    import msgspec

    from progimage.engine import EngineError, Limits, RenditionSpec, inspect, render

    try:
        limits = Limits(damaged=True)
        described = {"file": str(path), "bytes": path.stat().st_size, **msgspec.to_builtins(inspect(path, limits))}
        if not picture:
            return described, None
        width, height = room()
        query = [("width", str(width)), ("height", str(height)), ("fit", "inside"), ("page", "1")]
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            render(path, RenditionSpec.parse("PNG", query), file.name, limits)
            return described, Path(file.name).read_bytes()
    except EngineError as error:
        raise click.ClickException(f"{path}: {error}") from None


def _row(image: "Image") -> dict[str, Any]:
    return {
        "reference": image.reference,
        "format": image.format,
        "size": f"{image.width}x{image.height}",
        "bytes": image.bytes,
        "uploaded": image.uploaded_at.astimezone().strftime("%Y-%m-%d %H:%M"),
        "labels": image.labels,
        "filename": image.filename,
    }


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {part}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
