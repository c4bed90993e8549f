"""Commands that need no service: transform, bench, formats, completion."""

import shutil
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import click

from progimage.cli.environment import as_json, show
from progimage.cli.service import transformations_of

_STDIO = "-"
_PICTURES = ("watermark", "mask")
"""Transformations whose value is another image, which may be a file here."""
_BENCH = (("jpg", ""), ("jpg", "width=300"), ("webp", "width=1200"), ("png", "width=1200"), ("avif", "width=1200"))


@click.command(
    epilog="""\b
Examples:
  progimage transform photo.heic photo.jpg
  progimage transform photo.jpg avatar.webp width=96 height=96 gravity=smart radius=max
  progimage transform photo.jpg shared.jpg watermark=logo.png watermark_opacity=0.5
  cat photo.jpg | progimage transform - - --format webp width=300 > small.webp

docs/transformations.md lists all parameters. A flag such as flip needs no value. Here, the value of watermark and mask
is a file. The image is decoded in this process, without the isolation of the service."""
)
@click.argument("source", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("target", type=click.Path(dir_okay=False, allow_dash=True))
@click.argument("transformations", nargs=-1, metavar="[NAME=VALUE...]")
@click.option("--format", "extension", help="Extension of the format.  [default: that of the target]")
@click.option("--damaged", type=click.Choice(["refuse", "accept"]), help="Whether to accept images with lost pixels.")
def transform(
    source: str, target: str, transformations: tuple[str, ...], extension: str | None, damaged: str | None
) -> None:
    """Transform an image file without a service."""
    from progimage.engine import EngineError, Limits, RenditionSpec, by_extension, render

    asked, images = transformations_of(transformations), {}
    for name in _PICTURES:
        if name in asked and Path(asked[name]).is_file():
            reference = str(uuid.uuid5(uuid.NAMESPACE_URL, asked[name]))
            images[reference], asked[name] = Path(asked[name]), reference
    extension = extension or Path(target).suffix.lstrip(".")
    format = by_extension(extension)
    if format is None or not format.can_write:
        raise click.UsageError(f"{extension or target!r} is not a writable format; see `progimage formats`.")
    with tempfile.TemporaryDirectory() as folder:
        if source == _STDIO:
            source = str(Path(folder, "source"))
            with Path(source).open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        made = Path(folder, "target")
        try:
            spec = RenditionSpec.parse(format.name, asked.items())
            rendered = render(source, spec, made, Limits(damaged=damaged == "accept"), images)
        except EngineError as error:
            raise click.ClickException(str(error)) from None
        if target == _STDIO:
            with made.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            return
        size = made.stat().st_size
        shutil.move(made, target)
    click.echo(f"{target}: {rendered.width}x{rendered.height}, {size} bytes", err=True)


@click.command(
    epilog="""\b
Example:
  progimage bench photo.jpg

Measures, on one core and without HTTP, the inspection of an upload with its smaller copies, and each rendition from the
original. Prints the best of three runs."""
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def bench(file: Path, json_: bool) -> None:
    """Measure how long this machine takes to process an image file."""
    from progimage.engine import SIDES, EngineError, Limits, RenditionSpec, by_extension, inspect_upload, render

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "target")
        rungs = {side: Path(folder, str(side)) for side in SIDES}
        try:
            rows.append({"what": "upload", **_timed(lambda: inspect_upload(file, Limits(), rungs), file)})
            for extension, query in _BENCH:
                format = by_extension(extension)
                assert format is not None
                spec = RenditionSpec.parse(format.name, transformations_of(query.split("&") if query else ()).items())
                timed = _timed(lambda spec=spec: render(file, spec, target, Limits()), target)
                rows.append({"what": f".{extension}" + (f"?{query}" if query else ""), **timed})
        except EngineError as error:
            raise click.ClickException(f"{file}: {error}") from None
    show(rows, ("what", "milliseconds", "bytes"), json=json_)


@click.command()
@as_json
def formats(json_: bool) -> None:
    """List all formats with their extensions, and whether they can be read (r) and written (w)."""
    from progimage.engine import FORMATS

    if json_:
        from progimage.schemas import FormatRow

        show(map(FormatRow.of, FORMATS.values()), (), json=True)
        return
    for format in FORMATS.values():
        uses = ("r" if format.can_read else "-") + ("w" if format.can_write else "-")
        click.echo(f"{format.name:<8} {uses}  {', '.join(format.extensions):<32} {format.description}")


@click.command(
    epilog="""\b
Examples:
  progimage completion bash >> ~/.bashrc
  progimage completion zsh  >> ~/.zshrc
  progimage completion fish > ~/.config/fish/completions/progimage.fish"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script for shell completion of progimage."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "progimage", "_PROGIMAGE_COMPLETE").source())


def _timed(work: Any, made: Path) -> dict[str, Any]:
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return {"milliseconds": round(best * 1000, 1), "bytes": made.stat().st_size}
