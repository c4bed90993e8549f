"""The command line."""

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="progimage")
def main() -> None:
    """ProgImage: store images, and get them back in any format."""


@main.command()
@click.option("--host", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="The TCP port to listen on.  [default: 5000]")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where data is kept.  [default: data]",
)
@click.option("--http-processes", type=int, help="How many processes speak HTTP.  [default: 1]")
@click.option("--workers", type=int, help="How many workers touch pixels.  [default: one a core]")
def serve(**options: Any) -> None:
    """Serve over HTTP until SIGTERM or Ctrl-C.

    Every option can also be set by an environment variable, such as PROGIMAGE_DATA_DIR; docs/settings.md lists all.
    """
    from pydantic import ValidationError

    for name, value in options.items():
        if value is not None:
            os.environ[f"PROGIMAGE_{name.upper()}"] = str(value)
    from progimage.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        raise click.ClickException(_say(error)) from None
    _serve(settings)


@main.command()
@click.argument("url")
@click.option("--expires", type=click.IntRange(min=1), help="For how many seconds it is valid.  [default: for ever]")
@click.option("--method", default="GET", help="The HTTP method.  [default: GET]")
def sign(url: str, expires: int | None, method: str) -> None:
    """Sign the path and query of a request, such as '/storage/….webp?width=300'.

    The first of PROGIMAGE_SIGNING_KEYS signs; the server has to know that key, too.
    """
    from pydantic import ValidationError

    from progimage.access import Signer
    from progimage.settings import Settings

    try:
        keys = [key.get_secret_value() for key in Settings().signing_keys]
    except ValidationError as error:
        raise click.ClickException(_say(error)) from None
    if not keys:
        raise click.ClickException("There is no key in PROGIMAGE_SIGNING_KEYS, a JSON list.")
    parts = urlsplit(url)
    until = int(time.time()) + expires if expires else None
    signed = Signer(keys).sign(unquote(parts.path), parse_qsl(parts.query, keep_blank_values=True), until, method)
    click.echo(url[: url.index(parts.path)] + signed if parts.path else signed)


@main.command()
def formats() -> None:
    """List every format: its extensions, and whether it can be read and written."""
    from progimage.engine import FORMATS

    for format in FORMATS.values():
        uses = ("r" if format.can_read else "-") + ("w" if format.can_write else "-")
        click.echo(f"{format.name:<8} {uses}  {', '.join(format.extensions):<32} {format.description}")


def _say(error: Any) -> str:
    lines = [f"PROGIMAGE_{'_'.join(map(str, e['loc'])).upper() or 'settings'}: {e['msg']}" for e in error.errors()]
    return "\n".join(["These settings can't be used:", *lines])


def _serve(settings: Any) -> None:
    from granian.constants import HTTPModes, Interfaces
    from granian.log import LogLevels
    from granian.server import Server

    from progimage.storage import sweep_spools
    from progimage.storage.durable import make_folder
    from progimage.storage.migrations import migrate
    from progimage.workers import available_defences

    data = settings.data_dir.absolute()
    _refuse_taken_address(settings.host, settings.port)
    try:
        make_folder(data)
        swept = sweep_spools(data / "spool")
        migrate(settings.database, data / "migration.lock")
    except OSError as error:
        raise click.ClickException(f"The data folder can't be used: {error}") from None
    for line in _banner(settings, available_defences(), swept):
        click.echo(line, err=True)
    metrics = tempfile.mkdtemp(prefix="progimage-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
    os.environ["PROGIMAGE_DATA_DIR"] = str(data)
    try:
        Server(
            "progimage.app:create_app",
            address=settings.host,
            port=settings.port,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,  # HTTP/2 is for TLS, which is for a proxy to speak; this is a quarter faster
            factory=True,
            workers=settings.http_processes,
            websockets=False,
            workers_kill_timeout=settings.drain_seconds,
            respawn_failed_workers=True,
            log_level=LogLevels.warning,
        ).serve()
    finally:
        shutil.rmtree(metrics, ignore_errors=True)


def _refuse_taken_address(host: str, port: int) -> None:
    # The server's processes share one port, and would share it with a stranger, too.
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise click.ClickException(f"Can't listen on {host}, port {port}: {error.strerror or error}") from None


def _banner(settings: Any, defences: dict[str, bool], swept: int) -> list[str]:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    on = [name for name, there in defences.items() if there]
    off = [name for name, there in defences.items() if not there]
    mebi = 1024 * 1024
    lines = [
        f"ProgImage serves on http://{host}:{settings.port}/",
        f"  data      {settings.data_dir.absolute()} (originals {settings.blobs}, records {settings.database_shown})",
        f"  limits    {settings.max_upload_bytes // mebi} MiB, {settings.max_pixels / 1e6:g} megapixels,"
        f" {settings.max_frames} frames; {settings.task_seconds} s and {settings.worker_memory // mebi} MiB a task",
        f"  processes {settings.http_processes} HTTP, {settings.workers_per_process * settings.http_processes} workers",
        f"  defences  {', '.join(on)}" + (f"; not on this machine: {', '.join(off)}" if off else ""),
    ]
    if swept:
        lines.append(f"  swept     scratch files of {swept} process(es) that had been killed")
    return lines
