"""Seeing what the service does: a request id, one line of the log a request, and Prometheus metrics."""

import fcntl
import os
import random
import re
import time
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import prometheus_client
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess

from progimage.http.lingering import Body
from progimage.http.problems import WITH_BODY, Problem, send_problem
from progimage.logs import AccessLog
from progimage.storage.durable import allocate
from progimage.tracing import is_tracing, note_answer, request_span

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
WORKER_DEATHS = Counter("progimage_worker_deaths_total", "Workers that died of a task, and of what.", ["cause"])
POOL_WORKERS = Gauge("progimage_pool_workers", "Worker processes.", multiprocess_mode="livesum")
IMAGES = Gauge("progimage_images", "References that there are.", multiprocess_mode="mostrecent")
JOBS = Gauge(
    "progimage_jobs", "Jobs that are waiting, running or failed.", ["kind", "state"], multiprocess_mode="mostrecent"
)
PURGES_WAITING = Gauge(
    "progimage_purges_waiting",
    "Deleted images whose time is over, which the bound of an hour has left.",
    multiprocess_mode="mostrecent",
)
SWEEPS_STOPPED = Gauge(
    "progimage_sweeps_stopped",
    "1 if expiry and purging wait, since the clock has jumped, or can't be compared after a start.",
    ["reason"],
    multiprocess_mode="mostrecent",
)
DISK_FREE = Gauge(
    "progimage_disk_free_bytes",
    "Bytes that are free on each of this node's file systems.",
    ["folder"],
    multiprocess_mode="mostrecent",
)
STORAGE_FULL = Gauge(
    "progimage_storage_full",
    "1 if there is no room for uploads on this node's disks.",
    multiprocess_mode="mostrecent",
)
BYTES_STORED = Gauge("progimage_bytes_stored", "Bytes of originals.", multiprocess_mode="mostrecent")
BLOBS_DAMAGED = Gauge(
    "progimage_blobs_damaged", "Originals that were found damaged and not restored.", multiprocess_mode="mostrecent"
)
LADDER_BYTES = Gauge("progimage_ladder_bytes", "Bytes of their smaller copies.", multiprocess_mode="mostrecent")


class LibraryWatcher:
    """Counts what the image library tells."""

    def rendition(self, format: str, seconds: float | None) -> None:
        """Count a rendition: from the cache, or rendered in so many seconds."""
        if seconds is None:
            CACHE_HITS.labels(format).inc()
        else:
            CACHE_MISSES.labels(format).inc()
            RENDER_SECONDS.labels(format).observe(seconds)


def count_death(cause: str) -> None:
    """Count a worker that died of a task."""
    WORKER_DEATHS.labels(cause).inc()


def metrics_text() -> bytes:
    """Return the metrics of all HTTP processes in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return prometheus_client.generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return prometheus_client.generate_latest(registry)


class Gauges:
    """This process's share of the gauges, which are sums over the processes that are alive.

    A process that is killed can't take its share out of the sums. So each holds a lock; where it is free, others do it.
    """

    def __init__(self) -> None:
        """Lock this process's share."""
        self._folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if self._folder:
            self._lock = os.open(self._file(os.getpid()), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.hold_room()

    def hold_room(self) -> None:
        """Take the room on the disk that this process's metrics need, before they are counted in memory.

        They are files of which only what is used takes room; a full disk would end the process where more is used.
        """
        for file in Path(self._folder).glob(f"*_{os.getpid()}.db") if self._folder else ():
            with file.open("r+b") as opened, suppress(OSError):
                allocate(opened.fileno(), os.fstat(opened.fileno()).st_size)

    def forget_dead(self) -> None:
        """Take out the shares of processes that have been killed."""
        for file in Path(self._folder).glob("*.alive") if self._folder else ():
            try:
                lock = os.open(file, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._forget(int(file.stem))
            except BlockingIOError:
                pass  # it is alive
            finally:
                os.close(lock)

    def close(self) -> None:
        """Take this process's share out, since it ends."""
        if self._folder:
            self._forget(os.getpid())
            os.close(self._lock)

    def _forget(self, pid: int) -> None:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        # What was seen last is seen again by a process that lives; only counters have to stay.
        (Path(self._folder or "") / f"gauge_mostrecent_{pid}.db").unlink(missing_ok=True)
        self._file(pid).unlink(missing_ok=True)

    def _file(self, pid: int) -> Path:
        return Path(self._folder or "") / f"{pid}.alive"


class Observed:
    """The outermost ASGI application: gives each request its id, and counts and logs it.

    Args:
        app: The application inside.
        log: Where requests are logged.
    """

    def __init__(self, app: ASGIApp, log: AccessLog) -> None:
        """Wrap the application."""
        self._app = app
        self._log = log
        self._requests = cache(REQUESTS.labels)
        self._seconds = cache(REQUEST_SECONDS.labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)  # the lifespan, which ends when the service does
            self._log.flush()
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0
        body = None
        if scope["method"] in WITH_BODY:
            body = Body(receive, expects_continue=any(name == b"expect" for name, _ in scope["headers"]))
            receive = body.receive

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            path = scope["raw_path"].lower()
            if b"%2f" in path or b"%00" in path:
                # An encoded slash is no separator, so no path of ours has one; nor does a file's name have a zero.
                await send_problem(scope, send_with_id, Problem(404, "not-found", "There is nothing at this path."))
            elif is_tracing() and scope["path"] not in _QUIET_PATHS:
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
                with request_span(scope["method"], headers) as current:
                    await self._app(scope, receive, send_with_id)
                    note_answer(current, scope["method"], scope.get("path_template") or "none", status)
            else:
                await self._app(scope, receive, send_with_id)
        finally:
            self._record(scope, request_id, status, time.perf_counter() - started)
        if body is not None and status != HTTPStatus.REQUEST_TIMEOUT:
            await body.discard_rest()

    def _record(self, scope: Any, request_id: str, status: int, seconds: float) -> None:
        route = scope.get("path_template") or "none"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests(method, route, str(status)).inc()
        self._seconds(route).observe(seconds)
        if scope["path"] not in _QUIET_PATHS:
            self._log.add(request_id, method, scope["path"], status, seconds)


_METHODS = {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"}


def _request_id(scope: Any) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
    return given if given and _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
