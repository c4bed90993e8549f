"""The one place where the parts meet."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import litestar_offline_docs
import structlog
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.static_files import create_static_files_router
from litestar.types import ASGIApp

from progimage import __version__
from progimage.access import Signer
from progimage.engine import Limits
from progimage.http.documentation import complete
from progimage.http.ingest import Ingest
from progimage.http.observability import (
    POOL_TASKS,
    POOL_WORKERS,
    LibraryWatcher,
    Observed,
    forget_process,
    set_up_logging,
)
from progimage.http.problems import answer
from progimage.http.ready import ReadyAnswers
from progimage.http.routes import ROUTES
from progimage.library import ImageLibrary
from progimage.settings import Settings
from progimage.storage import Deletions, Records, RenditionCache, Spool, open_blob_store
from progimage.workers import Sandbox, WorkerPool

log = structlog.get_logger(__name__)
_ASSETS = "/docs/assets"


def create_app(settings: Settings | None = None) -> ASGIApp:
    """Make the ASGI application of one HTTP process.

    Args:
        settings: The options, or None: they are read from the environment.
    """
    settings = settings or Settings()
    access_log = set_up_logging(settings.log_format, settings.log_level)
    cors = _cors(settings.cors_origins)
    app = Litestar(
        route_handlers=[
            *ROUTES,
            create_static_files_router(
                path=_ASSETS,
                directories=[Path(litestar_offline_docs.__file__).parent / "static"],
                include_in_schema=False,
            ),
        ],
        lifespan=[_lifespan],
        exception_handlers={Exception: answer},
        cors_config=cors,
        openapi_config=OpenAPIConfig(
            title="ProgImage",
            version=__version__,
            description="Store an image, and get it back in any format.",
            path="/docs",
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
    app.state.settings = settings
    app.state.signer = Signer([key.get_secret_value() for key in settings.signing_keys])
    app.state.ready = ReadyAnswers(app, _cors_headers(cors))
    return Observed(app.state.ready, access_log)


def _cors(origins: list[str]) -> CORSConfig | None:
    if not origins:
        return None
    return CORSConfig(
        allow_origins=origins,
        allow_methods=["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"],
        expose_headers=["ETag", "Content-Range", "Content-Disposition", "X-Request-ID"],
    )


def _cors_headers(cors: CORSConfig | None) -> dict[str, str] | None:
    """Return what every answer to another origin has, or None: that depends on the origin."""
    if cors is None:
        return {}
    return cors.simple_headers if cors.is_allow_all_origins else None


@contextlib.asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    data = settings.data_dir.absolute()
    spool = Spool(data / "spool")
    limits = Limits(
        settings.max_pixels,
        settings.max_frames,
        settings.max_total_pixels,
        # The rest is for the program itself, its codecs, and what they have under way.
        memory=settings.worker_memory * 3 // 4,
    )
    sandbox = Sandbox(
        memory=settings.worker_memory,
        task_seconds=settings.task_seconds,
        file_bytes=_largest_file(limits),
        readable=(spool.incoming,),
        writable=(spool.outgoing,),
    )
    pool = WorkerPool(settings.workers_per_process, settings.queue, settings.task_seconds, sandbox, POOL_TASKS.set)
    POOL_WORKERS.set(settings.workers_per_process)
    library = ImageLibrary(
        Records(settings.database),
        open_blob_store(settings.blobs),
        RenditionCache(data / "renditions", settings.cache_bytes),
        Deletions(data / "deletions"),
        spool,
        pool,
        limits,
        LibraryWatcher(),
        ladder=settings.ladder,
    )
    app.state.library = app.state.ready.library = library
    app.state.ingest = Ingest(spool, settings.max_upload_bytes, settings.max_upload_parts)
    sweeper = asyncio.create_task(_sweep_for_ever(library, settings))
    try:
        await pool.warm_up()
        yield
    finally:
        sweeper.cancel()
        await asyncio.to_thread(pool.close)
        library.records.close()
        library.deletions.close()
        spool.close()
        forget_process()


async def _sweep_for_ever(library: ImageLibrary, settings: Settings) -> None:
    while True:
        try:
            removed = await library.sweep(settings.orphan_grace_seconds)
            if removed:
                log.info("swept", blobs=removed)
        except Exception as error:
            log.warning("sweep failed; it is tried again", error=repr(error))
        await asyncio.sleep(settings.sweep_seconds)


def _largest_file(limits: Limits) -> int:
    # The largest rendition: uncompressed, 16 bits a channel in four channels, written as hexadecimal digits.
    return min(limits.total_pixels * 16, sys.maxsize)
