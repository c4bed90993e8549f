"""The one place where the parts meet."""

import asyncio
import contextlib
import multiprocessing
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import litestar_offline_docs
import msgspec
from granian.utils.proxies import wrap_asgi_with_proxy_headers
from litestar import Litestar, Router
from litestar.datastructures import CacheControlHeader
from litestar.di import Provide
from litestar.exceptions import InternalServerException, NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.static_files import create_static_files_router
from litestar.types import ASGIApp

from progimage import __version__
from progimage.auth import RateLimits, Signer
from progimage.deployment import (
    StoreWatch,
    limits_of,
    open_blobs,
    open_disk_space,
    open_jobs,
    open_library,
    open_pool,
    open_renditions,
)
from progimage.fetching import Fetcher
from progimage.http.middleware.admission import Admission
from progimage.http.middleware.authentication import KeyRing
from progimage.http.middleware.cors import Browsers
from progimage.http.middleware.hosts import Hosts
from progimage.http.middleware.observability import Observed
from progimage.http.middleware.response_cache import ResponseCache
from progimage.http.openapi import complete
from progimage.http.params import known_query
from progimage.http.permission import caller_of
from progimage.http.responses.problems import problem_response
from progimage.http.routes import ROUTES
from progimage.http.routes.page import PAGE
from progimage.images.ingest import Ingest
from progimage.jobs import JobRunner
from progimage.jobs.scrub import Scrubber, repeat
from progimage.jobs.tasks import CLOCK_SECONDS, SCRUB_SLOT, Background
from progimage.logs import set_up_logging
from progimage.metrics import DISK_FREE, POOL_TASKS, POOL_WORKERS, STORAGE_FULL, Gauges, RenditionMetrics, count_death
from progimage.settings import Settings
from progimage.storage import Changes, DiskSpace, Room, ScratchFolder
from progimage.tracing import start_tracing, stop_tracing
from progimage.workers import die_with_parent

_ASSETS = "/docs/assets"
_WATCH_SECONDS = 30
"""How often to check that the stores belong to the deployment, in seconds."""
_DISK_SECONDS = 5
"""How often to check the free space on the disks, in seconds."""
_CLEAR_SECONDS = 10
"""How often to remove what killed processes left, in seconds."""


def create_app(settings: Settings | None = None) -> ASGIApp:
    """Make the ASGI application of one HTTP process.

    Args:
        settings: The options, or None: they are read from the environment.
    """
    if server := multiprocessing.parent_process():
        die_with_parent(int(server.pid or 0))
    settings = settings or Settings()
    start_tracing(settings.traces_url, settings.traces_sample_ratio)
    access_log = set_up_logging(settings.log_format, settings.log_level)
    browsers = Browsers(settings.cors_origins, settings.public_url)
    app = _application()
    app.state.settings = settings
    app.state.signer = Signer([key.get_secret_value() for key in settings.signing_keys])
    app.state.response_cache = ResponseCache(browsers)
    app.state.admission = Admission(
        app,
        app.state.response_cache,
        browsers,
        Hosts(settings.public_url, chosen=settings.access is not None),
        needs_keys=settings.needs_keys,
        idle_seconds=settings.idle_seconds,
        upload_seconds=settings.upload_seconds,
    )
    served: ASGIApp = Observed(app.state.admission, access_log)
    if settings.trusted_proxies:
        served = wrap_asgi_with_proxy_headers(served, settings.trusted_proxies)
    return served


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document of the HTTP API, which a service has at `/docs/openapi.json`."""
    document: dict[str, Any] = msgspec.to_builtins(_application().openapi_schema.to_schema())
    return document


def _application() -> Litestar:
    app = Litestar(
        route_handlers=[
            *ROUTES,
            _files(_ASSETS, Path(litestar_offline_docs.__file__).parent / "static"),
            _files("/page", PAGE),
        ],
        dependencies={"caller": Provide(caller_of, sync_to_thread=False)},
        guards=[known_query],
        lifespan=[_lifespan],
        exception_handlers={Exception: problem_response},
        openapi_config=OpenAPIConfig(
            title="ProgImage",
            version=__version__,
            description="Store an image, and get it back in any format.",
            path="/docs",
            components=Components(
                security_schemes={
                    scheme: SecurityScheme(type="http", scheme=scheme, description="An API key.")
                    for scheme in ("bearer", "basic")
                }
            ),
            security=[{}, {"bearer": []}, {"basic": []}],
            render_plugins=[
                SwaggerRenderPlugin(
                    js_url=f"{_ASSETS}/swagger-ui-bundle.js",
                    css_url=f"{_ASSETS}/swagger-ui.css",
                    standalone_preset_js_url=f"{_ASSETS}/swagger-ui-standalone-preset.js",
                    favicon="<link rel='icon' href='data:,'>",
                )
            ],
        ),
        request_max_body_size=None,  # bounded where a body is read, as it streams
        logging_config=None,
    )
    complete(app.openapi_schema)
    return app


def _files(path: str, folder: Path) -> Router:
    return create_static_files_router(
        path=path,
        directories=[folder],
        include_in_schema=False,
        cache_control=CacheControlHeader(no_cache=True),  # their names are the same in the next version
        # So it says of a name that no file can have.
        exception_handlers={InternalServerException: lambda request, _: problem_response(request, NotFoundException())},
    )


@contextlib.asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    data = settings.data_dir.absolute()
    scratch = ScratchFolder(settings.scratch_folder)
    gauges = Gauges()
    app.state.rates = rates = RateLimits(
        settings.rate_limits_url,
        settings.requests_per_key,
        settings.requests_per_address,
        settings.renders_per_key,
        settings.renders_per_address,
        lease_seconds=4 * settings.task_seconds,
        cpu_per_key=settings.cpu_per_key,
        cpu_per_address=settings.cpu_per_address,
    )
    pool = open_pool(settings, limits_of(settings), POOL_TASKS.set, count_death, rates.spent)
    pool.start()
    POOL_WORKERS.set(settings.workers_per_process)
    blobs = open_blobs(settings, scratch)
    renditions = open_renditions(settings, scratch)
    caches = [renditions.files] + ([blobs.copies] if blobs.copies else [])
    space = open_disk_space(settings, caches)
    await _watch_disks(space)
    jobs = open_jobs(settings, space)
    library = open_library(
        settings, jobs, blobs, renditions, Changes(data / "changes"), scratch, pool, space, RenditionMetrics()
    )
    watch = StoreWatch(settings, library.catalogue, blobs)
    await asyncio.to_thread(watch.begin)
    app.state.library = app.state.response_cache.library = library
    app.state.jobs = jobs
    room = Room(settings.scratch_limit, library.catalogue.owners)
    app.state.ingest = Ingest(
        scratch, settings.max_upload_bytes, settings.max_upload_parts, room, space, _fetcher(settings)
    )
    app.state.key_ring = KeyRing(library.catalogue, library.changes)
    app.state.admission.open(library.catalogue, app.state.key_ring, rates)
    scrubber = None
    if settings.scrub_rate:
        scrubber = Scrubber(library.catalogue.inventory, library.originals, settings.scrub_rate)
    background = Background(settings, library, app.state.ingest, renditions, caches, scrubber, jobs)
    runner = JobRunner(jobs, background.works, settings.jobs)
    await background.look_at_clock()

    async def clear_away() -> None:
        gauges.hold_room()
        gauges.forget_dead()
        await asyncio.to_thread(scratch.sweep)

    repeated = [
        asyncio.create_task(repeat("looking at the clock", CLOCK_SECONDS, background.look_at_clock, is_done=True)),
        asyncio.create_task(repeat("reminding", min(settings.sweep_seconds, SCRUB_SLOT), background.enqueue_periodic)),
        asyncio.create_task(repeat("looking whether the stores are the right ones", _WATCH_SECONDS, watch.look)),
        asyncio.create_task(repeat("watching the disks", _DISK_SECONDS, lambda: _watch_disks(space), is_done=True)),
        asyncio.create_task(repeat("clearing away after killed processes", _CLEAR_SECONDS, clear_away)),
    ]
    if settings.records_are_shared:
        repeated.append(asyncio.create_task(repeat("tidying", settings.sweep_seconds, background.tidy)))
    try:
        await pool.warm_up()
        if settings.jobs:
            await runner.start()
        yield
    finally:
        for task in repeated:
            task.cancel()
        await asyncio.gather(*repeated, return_exceptions=True)
        if settings.jobs:
            await runner.stop()
        await asyncio.to_thread(jobs.close)
        await pool.close()
        await renditions.close()
        library.catalogue.close()
        library.changes.close()
        scratch.close()
        gauges.close()
        await asyncio.to_thread(stop_tracing)


async def _watch_disks(space: DiskSpace) -> None:
    """Keep the reserve, and say in the metrics how much room there is."""
    await asyncio.to_thread(space.restore)
    for name, free in space.free().items():
        DISK_FREE.labels(name).set(free)
    STORAGE_FULL.set(space.is_full)


def _fetcher(settings: Settings) -> Fetcher | None:
    if not settings.upload_by_url:
        return None
    return Fetcher(
        settings.fetch_allow,
        settings.fetch_deny,
        settings.fetch_private_networks,
        settings.fetch_ports,
        settings.fetch_redirects,
        settings.fetch_seconds,
        settings.fetches_at_once,
    )
