"""Making requests: as many clients as are wanted, each asking for the next as soon as it has its answer."""

import http.client
import math
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request.

    Attributes:
        path: With its query.
        method: GET, PUT, …
        body: What is sent with it.
        headers: By name.
    """

    path: str
    method: str = "GET"
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Load:
    """What a load showed.

    Attributes:
        seconds: How long it took.
        latencies: Of every answer, in seconds; of wrk only a few quantiles.
        failures: How many answers were no 2xx or 304, with an example.
        cpu: How many seconds of CPU time the server used meanwhile.
        count: How many answers there were.
        peak_memory: The most memory of all of its processes together (PSS), in bytes; 0 if it was not measured.
    """

    seconds: float
    latencies: list[float]
    failures: list[str]
    cpu: float
    count: int
    peak_memory: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.count / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Answers for each second of the server's CPU time."""
        return self.count / max(self.cpu, 0.01)


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value that a share of them does not exceed (the nearest-rank method)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def ask(port: int, request: Request) -> tuple[int, dict[str, str], bytes]:
    """Make one request, and return status, headers (names in lower case) and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        return _answer(connection, request)
    finally:
        connection.close()


def _answer(connection: http.client.HTTPConnection, request: Request) -> tuple[int, dict[str, str], bytes]:
    connection.request(request.method, request.path, request.body, request.headers)
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def closed_loop(
    server: psutil.Process,
    port: int,
    request: Callable[[int], Request],
    clients: int,
    seconds: float,
    *,
    memory: bool = False,
) -> Load:
    """Let clients ask, each on its own connection, until the time is over; answers under way are waited for.

    Args:
        server: Its process.
        port: Where it listens.
        request: Makes the request of a number; every number is used once.
        clients: How many.
        seconds: For how long.
        memory: Watch the server's memory.
    """
    load = Load(0, [], [], 0, 0)
    numbers, lock = iter(range(10**9)), threading.Lock()
    started = time.perf_counter()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.perf_counter() - started < seconds:
            with lock:
                number = next(numbers)
            begun = time.perf_counter()
            try:
                status, _, body = _answer(connection, request(number))
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                status, body = 0, repr(error).encode()
            if 200 <= status < 300 or status == 304:
                load.latencies.append(time.perf_counter() - begun)
            else:
                load.failures.append(f"{status} {body[:200].decode(errors='replace')}")
        connection.close()

    before = cpu_seconds(server)
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    while memory and any(thread.is_alive() for thread in threads):
        load.peak_memory = max(load.peak_memory, memory_of(server))
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - started
    load.cpu = cpu_seconds(server) - before
    load.count = len(load.latencies)
    return load


def wrk(server: psutil.Process, port: int, request: Request, clients: int, seconds: int) -> Load:
    """Ask for the same again and again with wrk, for answers that come faster than Python could ask.

    Args:
        server: Its process.
        port: Where it listens.
        request: A GET.
        clients: How many.
        seconds: For how long.
    """
    program = shutil.which("wrk")
    if program is None:
        raise FileNotFoundError("wrk is not installed")
    script = (
        'done = function(s, l, r) io.write(string.format("%d %d %d %d %d %d",'
        " s.requests, s.duration, l:percentile(50), l:percentile(99),"
        " s.errors.status, s.errors.connect + s.errors.read + s.errors.write + s.errors.timeout)) end"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        headers = [part for name, value in request.headers.items() for part in ("-H", f"{name}: {value}")]
        command = [program, "-t1", f"-c{clients}", f"-d{seconds}", "-s", file.name, *headers]
        before = cpu_seconds(server)
        ran = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{request.path}"], capture_output=True, text=True, check=True
        )
        cpu = cpu_seconds(server) - before
    figures = re.search(r"(\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", ran.stdout)
    if figures is None:
        raise RuntimeError(ran.stdout)
    count, microseconds, median, p99, bad, broken = map(int, figures.groups())
    failures = [f"{bad} wrong statuses, {broken} broken connections"] if bad or broken else []
    return Load(microseconds / 1e6, [median / 1e6, p99 / 1e6], failures, cpu, count)


def processes(server: psutil.Process) -> list[psutil.Process]:
    """Return a process and all that descend from it."""
    return [server, *server.children(recursive=True)]


def cpu_seconds(server: psutil.Process) -> float:
    """Return the CPU time of a process and all that descend from it, in seconds; those that ended count, too."""
    total = 0.0
    for process in processes(server):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_of(server: psutil.Process) -> int:
    """Return the memory of all processes, what they share counted once (PSS), in bytes."""
    total = 0
    for process in processes(server):
        try:
            total += int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{process.pid}/smaps_rollup").read_text(), re.M)[1])  # type: ignore[index]
        except (OSError, TypeError):
            continue
    return total * 1024


CORES = len(os.sched_getaffinity(0))
