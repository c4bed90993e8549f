"""`progimage serve`."""

import asyncio
import os
import socket
import tempfile
import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click

from progimage import plugins
from progimage.cli.environment import load_settings

_METRICS = "progimage-metrics-"
"""Prefix of the temporary folder in which the HTTP processes share their metrics."""


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="TCP port to listen on; 0 picks a free one.  [default: 5000]")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for all local data.  [default: data]",
)
@click.option(
    "--access",
    type=click.Choice(["open", "keys"]),
    help="Who may use it: everyone, or callers with an API key.  [default: open on a loopback address, else required]",
)
@click.option("--http-processes", type=int, help="Number of HTTP processes.  [default: 1]")
@click.option("--workers", type=int, help="Number of workers, which decode and render images.  [default: one per core]")
def serve(**options: Any) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    Every option can also be set by an environment variable, such as PROGIMAGE_DATA_DIR. docs/settings.md lists all
    settings.
    """
    for name, value in options.items():
        if value is not None:
            os.environ[f"PROGIMAGE_{name.upper()}"] = str(value)
    settings = load_settings()
    if settings.access is None and not settings.is_loopback:
        raise click.ClickException(
            f"{settings.host} is reachable from other machines. Choose who may use the service:\n"
            "  PROGIMAGE_ACCESS=keys  callers with an API key; create one with `progimage keys create`\n"
            "  PROGIMAGE_ACCESS=open  anyone who can reach it, including uploads and deletes"
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
    _check_plugins()
    port = _free_port(settings.host, settings.port)
    try:
        make_folder(data, PRIVATE)
        swept = sweep_folders(settings.scratch_folder)
        sweep_folders(Path(tempfile.gettempdir()), f"{_METRICS}*")
        open_blobs(settings)  # checks the settings of the store
        migrate(settings.database, data / "migration.lock")
        # In a separate process: the threads of obstore don't survive in the processes that this one forks.
        with ProcessPoolExecutor(1, get_context("fork")) as child:
            deployment = child.submit(_identify, settings).result()
    except OSError as error:
        raise click.ClickException(f"The data folder is unusable: {error}") from None
    except DatabaseUnavailable as error:
        raise click.ClickException(str(error)) from None
    except ValueError as error:
        raise click.ClickException(f"Invalid PROGIMAGE_BLOBS_URL or PROGIMAGE_BLOBS_OPTIONS: {error}") from None
    for line in _banner(settings, port, available_defences(), swept, deployment):
        click.echo(line, file=LOSSY_STDERR)
    # Not in the data folder: the files are mapped to memory, and a full disk would kill the processes.
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
            http=HTTPModes.http1,  # a quarter faster; HTTP/2 needs TLS, which is left to a proxy
            factory=True,
            workers=settings.http_processes,
            websockets=False,
            workers_kill_timeout=settings.drain_seconds,
            respawn_failed_workers=True,
            log_level=LogLevels.warning,
        ).serve()
    finally:
        metrics.close()


def _check_plugins() -> None:
    """Check the plugins that add blob stores and routes. Importing the engine has checked the others already.

    Raises:
        PluginError: A plugin can't be used.
    """
    if plugins.installed("blob_stores") or plugins.installed("routes"):
        with ProcessPoolExecutor(1, get_context("fork")) as child:  # keeps this process small
            if fault := child.submit(_fault_of_plugins).result():
                raise plugins.PluginError(fault)


def _fault_of_plugins() -> str | None:
    """Return why a plugin that adds blob stores or routes can't be used, or None."""
    try:
        for store in plugins.store_plugins().values():
            if not callable(store.load()):
                raise store.refused("isn't a function.")
        if routes := plugins.installed("routes"):
            _check_routes(routes)
    except plugins.PluginError as error:
        return str(error)
    return None


def _check_routes(routes: Sequence[plugins.Plugin]) -> None:
    from progimage.app import openapi_document

    try:
        openapi_document()
    except plugins.PluginError:
        raise
    except Exception as error:
        raise routes[0].failed(error, *routes[1:]) from error


def _identify(settings: Any) -> str | None:
    """Check that the database is writable and belongs to the stores, and return the ID of the deployment."""
    from obstore.exceptions import BaseError as StoreError

    from progimage.deployment import identify_stores, open_catalogue, open_disk_space
    from progimage.logs import LOSSY_STDERR
    from progimage.storage import DatabaseFull, DatabaseUnavailable, WrongStore

    catalogue = open_catalogue(settings, space=open_disk_space(settings))
    try:
        with suppress(DatabaseFull):  # read-only until there is space again
            asyncio.run(catalogue.clock.look())
        return identify_stores(settings, catalogue.database)
    except StoreError as error:  # it may come back; until then, requests that need it fail
        reason = str(error).splitlines()[0][:200]
        text = f"A store is unavailable; the service keeps checking it: {reason}"
        click.echo(text, file=LOSSY_STDERR)
        return None
    except (DatabaseUnavailable, WrongStore) as error:
        raise click.ClickException(str(error)) from None
    finally:
        catalogue.close()


def _free_port(host: str, port: int) -> int:
    """Return the port to listen on: the given one, which must be free, or for 0 any free one."""
    # The HTTP processes share one port and would also share it with a foreign process; with 0, each would pick its own.
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
        f"ProgImage is listening on http://{host}:{port}/",
        f"  data      {settings.data_dir.absolute()} (originals {settings.blobs}, records {settings.database_shown})",
        f"  id        {deployment or 'unknown'}",
        f"  limits    {settings.max_upload_bytes // mebi} MiB, {settings.max_pixels / 1e6:g} megapixels,"
        f" {settings.max_frames} frames; {settings.task_seconds} s and {settings.worker_memory // mebi} MiB per task",
        f"  processes {settings.http_processes} HTTP, {settings.workers_per_process * settings.http_processes} workers",
        f"  access    {_access(settings)}",
        f"  defences  {', '.join(on)}" + (f"; not available here: {', '.join(off)}" if off else ""),
    ]
    if added := plugins.listed():
        lines.append(f"  plugins   {', '.join(added)}")
    for old, name in settings.renamed_variables().items():
        if old in map(str.upper, os.environ):
            lines.append(f"  warning   {old} is deprecated: use {name}")
    if swept:
        lines.append(f"  swept     scratch files of {swept} killed process(es)")
    return lines


def _access(settings: Any) -> str:
    who = "callers with an API key" if settings.needs_keys else "anyone who can reach it"
    if settings.access is None:
        who = "anyone on this machine; nobody through a proxy until PROGIMAGE_ACCESS is set"
    set_ = {
        "requests": settings.requests_per_key or settings.requests_per_address,
        "renders": settings.renders_per_key or settings.renders_per_address,
        "quotas": settings.max_images_per_owner or settings.max_bytes_per_owner,
        "presets only": settings.transformations == "presets",
    }
    bounds = ", ".join(name for name, value in set_.items() if value) or "none"
    return f"{who}; default visibility: {settings.visibility}; limits per client: {bounds}"
