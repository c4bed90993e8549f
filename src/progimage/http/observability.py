"""Seeing what the service does: a request id, one log line a request, and Prometheus metrics."""

import logging
import os
import re
import sys
import time
import uuid
from typing import Any

import prometheus_client
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess

from progimage.http.problems import MEDIA_TYPE, Problem

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_QUIET_PATHS = {"/healthz", "/readyz", "/metrics"}
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS = Counter("progimage_requests_total", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "progimage_request_seconds",
    "From a request's first byte to its answer's last.",
    ["route"],
    buckets=_SECONDS,
)
RENDER_SECONDS = Histogram(
    "progimage_render_seconds",
    "Rendering a rendition, waiting for a worker included.",
    ["format"],
    buckets=_SECONDS,
)
CACHE_HITS = Counter("progimage_rendition_cache_hits_total", "Renditions answered from the cache.", ["format"])
CACHE_MISSES = Counter("progimage_rendition_cache_misses_total", "Renditions that were rendered.", ["format"])
POOL_TASKS = Gauge("progimage_pool_tasks", "Tasks running in a worker or waiting for one.", multiprocess_mode="livesum")
POOL_WORKERS = Gauge("progimage_pool_workers", "Worker processes.", multiprocess_mode="livesum")
IMAGES = Gauge("progimage_images", "References that there are.", multiprocess_mode="mostrecent")
BYTES_STORED = Gauge("progimage_bytes_stored", "Bytes of originals.", multiprocess_mode="mostrecent")


class LibraryWatcher:
    """Counts what the image library tells."""

    def rendition(self, format: str, seconds: float | None) -> None:
        """Count a rendition: from the cache, or rendered in so many seconds."""
        if seconds is None:
            CACHE_HITS.labels(format).inc()
        else:
            CACHE_MISSES.labels(format).inc()
            RENDER_SECONDS.labels(format).observe(seconds)


def metrics_text() -> bytes:
    """Return the metrics of all HTTP processes in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return prometheus_client.generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return prometheus_client.generate_latest(registry)


def forget_process() -> None:
    """Take this process' gauges out of the sums, since it ends."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


class Observed:
    """The outermost ASGI application: gives each request its id, and counts and logs it.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self._app = app
        self._log = structlog.get_logger("progimage.access")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            if b"%2f" in scope["raw_path"].lower():
                # An encoded slash is no separator, so no path of ours has one.
                await _send_problem(send_with_id, Problem(404, "not-found", "There is nothing at this path."))
            else:
                await self._app(scope, receive, send_with_id)
        finally:
            self._record(scope, status, time.perf_counter() - started)
            structlog.contextvars.clear_contextvars()

    def _record(self, scope: Any, status: int, seconds: float) -> None:
        route = scope.get("path_template") or "none"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        REQUESTS.labels(method, route, str(status)).inc()
        REQUEST_SECONDS.labels(route).observe(seconds)
        if scope["path"] not in _QUIET_PATHS:
            self._log.info(
                "request",
                method=method,
                path=scope["path"],
                status=status,
                milliseconds=round(seconds * 1000, 2),
            )


_METHODS = {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"}


def set_up_logging(log_format: str, level: str) -> None:
    """Make structlog and the standard library's loggers write to standard error in one form.

    Args:
        log_format: `json`, `console`, or `auto`: console on a terminal, else json.
        level: The least important level to write.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def _request_id(scope: Any) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


async def _send_problem(send: Send, problem: Problem) -> None:
    body = problem.encoded()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
