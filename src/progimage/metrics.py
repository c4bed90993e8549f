"""Metrics for Prometheus."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess

from progimage.storage.durable import allocate

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS = Counter("progimage_requests_total", "Completed requests.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "progimage_request_seconds",
    "Time from the first byte of a request to the last byte of its response.",
    ["route"],
    buckets=_SECONDS,
)
RENDER_SECONDS = Histogram(
    "progimage_render_seconds",
    "Time to render a rendition, including waiting for a worker.",
    ["format"],
    buckets=_SECONDS,
)
CACHE_HITS = Counter("progimage_rendition_cache_hits_total", "Renditions served from the cache.", ["format"])
CACHE_MISSES = Counter("progimage_rendition_cache_misses_total", "Renditions that were rendered.", ["format"])
POOL_TASKS = Gauge("progimage_pool_tasks", "Tasks running in a worker or waiting for one.", multiprocess_mode="livesum")
WORKER_DEATHS = Counter("progimage_worker_deaths_total", "Workers that died during a task, by cause.", ["cause"])
POOL_WORKERS = Gauge("progimage_pool_workers", "Worker processes.", multiprocess_mode="livesum")
IMAGES = Gauge("progimage_images", "Stored images.", multiprocess_mode="mostrecent")
JOBS = Gauge("progimage_jobs", "Jobs waiting, running or failed.", ["kind", "state"], multiprocess_mode="mostrecent")
PURGES_WAITING = Gauge(
    "progimage_purges_waiting",
    "Deleted images due to be purged, but deferred by the hourly limit.",
    multiprocess_mode="mostrecent",
)
SWEEPS_STOPPED = Gauge(
    "progimage_sweeps_stopped",
    "1 if expiry and purging are stopped: the clock jumped, or could not be compared after a start.",
    ["reason"],
    multiprocess_mode="mostrecent",
)
DISK_FREE = Gauge(
    "progimage_disk_free_bytes",
    "Free bytes on each file system of this node.",
    ["folder"],
    multiprocess_mode="mostrecent",
)
STORAGE_FULL = Gauge(
    "progimage_storage_full",
    "1 if this node's disks have no space for uploads.",
    multiprocess_mode="mostrecent",
)
BYTES_STORED = Gauge("progimage_bytes_stored", "Bytes of originals.", multiprocess_mode="mostrecent")
BLOBS_DAMAGED = Gauge(
    "progimage_blobs_damaged", "Originals found damaged and not restored.", multiprocess_mode="mostrecent"
)
LADDER_BYTES = Gauge("progimage_ladder_bytes", "Bytes of ladders (smaller copies).", multiprocess_mode="mostrecent")


class RenditionMetrics:
    """Observer of the image library that counts renditions."""

    def rendition(self, format: str, seconds: float | None) -> None:
        """Count a rendition.

        Args:
            format: Its container format.
            seconds: How long rendering took; None if it came from the cache.
        """
        if seconds is None:
            CACHE_HITS.labels(format).inc()
        else:
            CACHE_MISSES.labels(format).inc()
            RENDER_SECONDS.labels(format).observe(seconds)


def count_death(cause: str) -> None:
    """Count a worker that died during a task."""
    WORKER_DEATHS.labels(cause).inc()


def metrics_text() -> bytes:
    """Return the metrics of all HTTP processes in the text format of Prometheus."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return prometheus_client.generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return prometheus_client.generate_latest(registry)


class Gauges:
    """This process's share of the gauges that are sums over all live processes.

    A killed process can't remove its share from the sums. So each process holds a lock, and others remove the shares
    whose lock is free.
    """

    def __init__(self) -> None:
        self._folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if self._folder:
            self._lock = os.open(self._file(os.getpid()), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.hold_room()

    def hold_room(self) -> None:
        """Allocate the disk space of this process's metrics files.

        The files are sparse and mapped to memory. If the disk is full, writing to an unallocated part kills the
        process.
        """
        for file in Path(self._folder).glob(f"*_{os.getpid()}.db") if self._folder else ():
            with file.open("r+b") as opened, suppress(OSError):
                allocate(opened.fileno(), os.fstat(opened.fileno()).st_size)

    def forget_dead(self) -> None:
        """Remove the shares of killed processes."""
        for file in Path(self._folder).glob("*.alive") if self._folder else ():
            try:
                lock = os.open(file, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._forget(int(file.stem))
            except BlockingIOError:
                pass  # the process is alive
            finally:
                os.close(lock)

    def close(self) -> None:
        """Remove this process's share before it ends."""
        if self._folder:
            self._forget(os.getpid())
            os.close(self._lock)

    def _forget(self, pid: int) -> None:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        # A live process sets the "most recent" gauges again; only counters must be kept.
        (Path(self._folder or "") / f"gauge_mostrecent_{pid}.db").unlink(missing_ok=True)
        self._file(pid).unlink(missing_ok=True)

    def _file(self, pid: int) -> Path:
        return Path(self._folder or "") / f"{pid}.alive"
