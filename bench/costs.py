"""What each kind of request costs a cluster's node, its database and its store: the figures of docs/costs.json.

    make costs

One node with two workers, over a real PostgreSQL and a real S3 server on the same machine. CPU time is that of all
processes of each, over many requests; it does not depend on what else the machine does, as times of answers do.
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from tests.integration.server import Server, serving
from tests.servers import Postgres, Process, Proxy, S3Server, postgres, running

from bench.pictures import Pictures, distinct

DOCS = Path(__file__).parents[1] / "docs"
_UPLOADS, _RENDITIONS, _CACHED = 40, 60, 3000
_WIDTHS = (160, 320, 480, 640)


def cpu_of(process: int) -> float:
    """The CPU seconds that a process and all that are below it have used."""
    parent = psutil.Process(process)
    total = 0.0
    for one in (parent, *parent.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


class Counted(Proxy):
    """A proxy that counts the requests that a store is sent, by their method."""

    def __init__(self, target: int) -> None:
        """Begin with none."""
        super().__init__(target)
        self.requests: Counter[str] = Counter()
        self._counting = threading.Lock()
        self.cut_before = self._count

    def _count(self, data: bytes) -> bool:
        method = data.split(b" ", 1)[0]
        if method in (b"GET", b"PUT", b"POST", b"HEAD", b"DELETE") and b" HTTP/1.1\r\n" in data[:4096]:
            with self._counting:
                self.requests[method.decode()] += 1
        return False


class Bench:
    """Measures one deployment."""

    def __init__(self, server: Server, database: Postgres, store: Process, proxy: Counted) -> None:
        """Keep the parts."""
        self.server, self.proxy = server, proxy
        self._pids = {"node": server.process.pid, "database": database.process.pid, "store": store.process.pid}

    def measure(self, count: int, request: Callable[[httpx.Client, int], None]) -> dict[str, Any]:
        """Make so many requests, two at a time, and return what one of them cost on average."""
        latencies: list[float] = []
        clients = [httpx.Client(base_url=self.server.url, timeout=120) for _ in range(2)]

        def one(number: int) -> None:
            began = time.perf_counter()
            request(clients[number % 2], number)
            latencies.append(time.perf_counter() - began)

        time.sleep(1.5)  # what was begun before ends
        before, self.proxy.requests = {name: cpu_of(pid) for name, pid in self._pids.items()}, Counter()
        began = time.perf_counter()
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(one, range(count)))
        took = time.perf_counter() - began
        time.sleep(1.5)  # renditions are on their way to the store
        after = {name: cpu_of(pid) for name, pid in self._pids.items()}
        return {
            **{f"{name}_cpu_ms": round((after[name] - before[name]) / count * 1000, 3) for name in self._pids},
            "median_ms": round(statistics.median(latencies) * 1000, 2),
            "rate": round(count / took, 1),
            "store_requests": {name: round(n / count, 2) for name, n in sorted(self.proxy.requests.items())},
        }


@contextmanager
def deployed(folder: Path, **settings: Any) -> Iterator[tuple[Bench, Postgres, S3Server]]:
    """A node with its database and its store."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres(folder / "postgres"))
        store = S3Server(folder / "s3")
        stack.enter_context(running(store))
        proxy = Counted(store.port)
        stack.callback(proxy.close)
        server = stack.enter_context(
            serving(
                folder / "data", workers=2, database_url=database.new_database(), scrub_rate=0, sweep_seconds=3600,
                log_level="warning", **store.settings("costs", proxy.port), **settings,
            )
        )  # fmt: skip
        yield Bench(server, database, store, proxy), database, store


def measure_all(folder: Path) -> dict[str, Any]:
    """Measure every kind of request with a usual photograph of 2 megapixels and one of 12."""
    pictures = Pictures.made_in(folder / "pictures")
    results: dict[str, Any] = {}
    for name, file in (("2", "photo2.jpg"), ("12", "photo12.jpg")):
        with deployed(folder / name) as (bench, database, store):
            jpeg = pictures[file].read_bytes()
            size = "SELECT pg_database_size(current_database())"
            before = database.sql(size, "progimage1")[0][0]
            references: list[str] = []

            def upload(client: httpx.Client, number: int) -> None:
                references.append(client.put("/storage/", content=distinct(jpeg, number)).raise_for_status().text)

            kinds: dict[str, Any] = {"upload": bench.measure(_UPLOADS, upload)}
            kinds["upload"]["original_bytes"] = len(jpeg)
            files = list(store.files("costs").items())
            stored = sum(path.stat().st_size for _, path in files)
            kinds["upload"]["ladder_bytes"] = stored // len(references) - len(jpeg)
            kinds["upload"]["objects"] = len(files) // len(references)

            def get(query: Callable[[int], str]) -> Callable[[httpx.Client, int], None]:
                def request(client: httpx.Client, number: int) -> None:
                    answer = client.get(f"/storage/{query(number)}")
                    assert answer.status_code == 200, answer.text[:300]

                return request

            chosen = random.Random(1)
            some = [chosen.choice(references) for _ in range(_CACHED)]

            def ladder(number: int) -> str:
                width = _WIDTHS[number // len(references) % len(_WIDTHS)]
                return f"{references[number % len(references)]}.webp?width={width}"

            kinds["ladder"] = bench.measure(_RENDITIONS, get(ladder))
            kinds["cold"] = bench.measure(
                _UPLOADS, get(lambda number: f"{references[number % len(references)]}.webp?width=1100")
            )
            kinds["cached"] = bench.measure(_CACHED, get(lambda number: f"{some[number]}.webp?width=1100"))
            kinds["original"] = bench.measure(_RENDITIONS, get(lambda number: references[number % len(references)]))
            after = database.sql(size, "progimage1")[0][0]
            kinds["upload"]["database_bytes"] = (after - before) // len(references)
            rendered = bench.server.get(f"{references[0]}.webp?width=480")
            kinds["ladder"]["bytes"] = len(rendered.content)
            results[name] = kinds
            bench.server.client.close()
    results["shared"] = _shared(folder, pictures)
    results["row_bytes"] = _row_bytes(folder)
    results["machine"] = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    return results


def _shared(folder: Path, pictures: Pictures) -> dict[str, Any]:
    """Renditions that another node has made: this one brings them from the store."""
    import shutil

    with deployed(folder / "shared") as (bench, _, _):
        jpeg = pictures["photo2.jpg"].read_bytes()
        references = [bench.server.put(distinct(jpeg, number)) for number in range(_RENDITIONS)]
        for reference in references:
            assert bench.server.get(f"{reference}.webp?width=480").status_code == 200
        time.sleep(2)
        shutil.rmtree(bench.server.data_dir / "renditions")
        (bench.server.data_dir / "renditions").mkdir()
        time.sleep(6)  # what was ready in memory is not, any more

        def get(client: httpx.Client, number: int) -> None:
            assert client.get(f"/storage/{references[number]}.webp?width=480").status_code == 200

        return bench.measure(_RENDITIONS, get)


def _row_bytes(folder: Path) -> int:
    """What a record and its blob take in PostgreSQL, with their indexes and the audit log's line, of 200,000."""
    import sqlalchemy as sa

    from progimage.storage.database.migrations import migrate

    count = 200_000
    with postgres(folder / "rows") as database:
        url = database.new_database()
        migrate(url, folder / "rows.lock")
        info = json.dumps({"format": "JPEG", "width": 4000, "height": 3000, "others": "x" * 330})
        step = "md5(n::text) || md5((n + 1)::text)"
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            before = connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one()
            series = f"FROM generate_series(1, {count}) AS n"
            connection.execute(
                sa.text(
                    "INSERT INTO blobs"
                    " (sha256, bytes, format, info, ladder, ladder_bytes, stored, touched_at, checked_at)"
                    f" SELECT {step}, 500000, 'JPEG', :info, :ladder, 50000, true, n, n {series}"
                ),
                {"info": info, "ladder": "x" * 180},
            )
            connection.execute(
                sa.text(
                    "INSERT INTO images (reference, sha256, owner, filename, uploaded_at)"
                    f" SELECT gen_random_uuid()::text, {step}, 'shop', 'photo-' || n || '.jpg', n {series}"
                )
            )
            connection.execute(
                sa.text(
                    "INSERT INTO audit (at, action, owner, address, reference, detail) SELECT n, 'upload', 'shop',"
                    f' \'10.0.0.1\', gen_random_uuid()::text, \'{{"bytes": 500000, "format": "JPEG"}}\' {series}'
                )
            )
        with engine.connect() as connection:
            after = connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one()
        engine.dispose()
    return int((after - before) // count)


def main() -> None:
    """Measure, and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="to docs/costs.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="progimage-costs-") as folder:
        results = measure_all(Path(folder))
    text = json.dumps(results, indent=2) + "\n"
    if options.write:
        (DOCS / "costs.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
