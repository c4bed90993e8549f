"""What is counted and measured, for Prometheus."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess

from progimage.storage.durable import allocate

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
