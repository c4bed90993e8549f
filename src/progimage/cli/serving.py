"""`progimage serve`."""

import asyncio
import os
import socket
import tempfile
import uuid
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click

from progimage.cli.environment import load_settings

_METRICS = "progimage-metrics-"
"""How the folder in the temporary one begins in which the processes share their metrics."""


@click.command()
@click.option("--host", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="The TCP port to listen on; 0 is any free one.  [default: 5000]")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where data is kept.  [default: data]",
)
@click.option(
    "--access",
    type=click.Choice(["open", "keys"]),
    help="Who may use it: everybody, or whoever has an API key.  [default: open on a loopback address, else none]",
)
@click.option("--http-processes", type=int, help="How many processes speak HTTP.  [default: 1]")
@click.option("--workers", type=int, help="How many workers touch pixels.  [default: one a core]")
def serve(**options: Any) -> None:
    """Serve over HTTP until SIGTERM or Ctrl-C.

    Every option can also be set by an environment variable, such as PROGIMAGE_DATA_DIR; docs/settings.md lists all.
    """
    for name, value in options.items():
        if value is not None:
            os.environ[f"PROGIMAGE_{name.upper()}"] = str(value)
    settings = load_settings()
    if settings.access is None and not settings.is_loopback:
        raise click.ClickException(
            f"{settings.host} can be reached from other machines; say who may use the service there:\n"
            "  PROGIMAGE_ACCESS=keys  whoever has an API key; `progimage keys create` makes one\n"
            "  PROGIMAGE_ACCESS=open  everybody who can reach it, to upload and delete, too"
        )
    _serve(settings)


def _serve(settings: Any) -> None:
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server import Server

    from progimage.deployment import open_blobs
    from progimage.logs import LOSSY_STDERR
    from progimage.open_files import TooFewFiles, allow_files
    from progimage.storage import DatabaseUnavailable, LockedFolder, sweep_folders
    from progimage.storage.database.migrations import migrate
    from progimage.storage.durable import PRIVATE, make_folder
    from progimage.workers import available_defences

    data = settings.data_dir.absolute()
    try:
        allow_files(settings)
    except TooFewFiles as error:
        raise click.ClickException(str(error)) from None
    port = _free_port(settings.host, settings.port)
    try:
        make_folder(data, PRIVATE)
        swept = sweep_folders(data / "spool")
        sweep_folders(Path(tempfile.gettempdir()), f"{_METRICS}*")
        open_blobs(settings)  # only to see whether that can be done
        migrate(settings.database, data / "migration.lock")
        # In a process of its own: obstore's threads would not live on in the processes that this one forks.
        with ProcessPoolExecutor(1, get_context("fork")) as child:
            deployment = child.submit(_identify, settings).result()
    except OSError as error:
        raise click.ClickException(f"The data folder can't be used: {error}") from None
    except DatabaseUnavailable as error:
        raise click.ClickException(str(error)) from None
    except ValueError as error:
        raise click.ClickException(f"PROGIMAGE_BLOBS_URL or PROGIMAGE_BLOBS_OPTIONS can't be used: {error}") from None
    for line in _banner(settings, port, available_defences(), swept, deployment):
        click.echo(line, file=LOSSY_STDERR)
    # Not in the data folder: the files are mapped to memory, and a full disk under them would end the processes.
    metrics = LockedFolder(Path(tempfile.gettempdir()) / f"{_METRICS}{uuid.uuid4().hex}")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics.path)
    os.environ["PROGIMAGE_DATA_DIR"] = str(data)
    os.environ["PROGIMAGE_PORT"] = str(port)
    try:
        Server(
            "progimage.app:create_app",
            address=settings.host,
            port=port,
            interface=Interfaces.ASGI,
            http1_settings=HTTP1Settings(header_read_timeout=settings.header_seconds * 1000),
            http=HTTPModes.http1,  # HTTP/2 is for TLS, which is for a proxy to speak; this is a quarter faster
            factory=True,
            workers=settings.http_processes,
            websockets=False,
            workers_kill_timeout=settings.drain_seconds,
            respawn_failed_workers=True,
            log_level=LogLevels.warning,
        ).serve()
    finally:
        metrics.close()


def _identify(settings: Any) -> str | None:
    """Check that the database can be written, and belongs to the stores, and return the id of the deployment."""
    from obstore.exceptions import BaseError as StoreError

    from progimage.deployment import identify_stores, open_catalogue, open_disk_space
    from progimage.logs import LOSSY_STDERR
    from progimage.storage import DatabaseFull, DatabaseUnavailable, WrongStore

    catalogue = open_catalogue(settings, space=open_disk_space(settings))
    try:
        with suppress(DatabaseFull):  # it is read, until there is room again
            asyncio.run(catalogue.clock.look())
        return identify_stores(settings, catalogue.database)
    except StoreError as error:  # it may come back; until then, requests that need it are refused
        reason = str(error).splitlines()[0][:200]
        text = f"A store can't be used now, and is looked at again while the service runs: {reason}"
        click.echo(text, file=LOSSY_STDERR)
        return None
    except (DatabaseUnavailable, WrongStore) as error:
        raise click.ClickException(str(error)) from None
    finally:
        catalogue.close()


def _free_port(host: str, port: int) -> int:
    """Return the port to listen on: the given one, which nobody may have, or for 0 any that is free."""
    # The server's processes share one port, and would share it with a stranger, too; with 0, each would take its own.
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise click.ClickException(f"Can't listen on {host}, port {port}: {error.strerror or error}") from None


def _banner(settings: Any, port: int, defences: dict[str, bool], swept: int, deployment: str | None) -> list[str]:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    on = [name for name, there in defences.items() if there]
    off = [name for name, there in defences.items() if not there]
    mebi = 1024 * 1024
    lines = [
        f"ProgImage serves on http://{host}:{port}/",
        f"  data      {settings.data_dir.absolute()} (originals {settings.blobs}, records {settings.database_shown})",
        f"  id        {deployment or 'not known'}",
        f"  limits    {settings.max_upload_bytes // mebi} MiB, {settings.max_pixels / 1e6:g} megapixels,"
        f" {settings.max_frames} frames; {settings.task_seconds} s and {settings.worker_memory // mebi} MiB a task",
        f"  processes {settings.http_processes} HTTP, {settings.workers_per_process * settings.http_processes} workers",
        f"  access    {_access(settings)}",
        f"  defences  {', '.join(on)}" + (f"; not on this machine: {', '.join(off)}" if off else ""),
    ]
    if swept:
        lines.append(f"  swept     scratch files of {swept} process(es) that had been killed")
    return lines


def _access(settings: Any) -> str:
    who = "whoever has an API key" if settings.needs_keys else "everybody who can reach it"
    if settings.access is None:
        who = "everybody on this machine; nobody through a proxy, until PROGIMAGE_ACCESS is set"
    set_ = {
        "requests": settings.requests_per_key or settings.requests_per_address,
        "renderings": settings.renders_per_key or settings.renders_per_address,
        "quotas": settings.max_images_per_owner or settings.max_bytes_per_owner,
        "presets only": settings.transformations == "presets",
    }
    bounds = ", ".join(name for name, value in set_.items() if value) or "none"
    return f"{who}; reads are {settings.visibility}; bounds for each client: {bounds}"
