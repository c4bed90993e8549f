"""A cluster under load, while its parts are killed, restarted and paused: what was acknowledged stays, and is right.

    python -m tests.cluster --seconds 300

Nodes over one PostgreSQL and one S3 server are sent uploads, reads, renditions and deletions without a pause. A node's
clock goes a month ahead, and the store gets full. At the end every acknowledged image is asked of every node, and those
that were deleted are brought back. Everything is real, but for the clock: servers, signals, files, file systems.
"""

import argparse
import contextlib
import hashlib
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from PIL import Image

from tests import pictures
from tests.integration.server import Server
from tests.servers import S3Server, postgres, running

STALE_SECONDS = 5.0
"""For so long another node may answer an image that was deleted; docs/cluster.md promises it."""
_AHEAD = 30 * 24 * 3600
"""A clock that is wrong is so many seconds ahead: more than deleted images are kept, and than images last here."""
_SWEEP_SECONDS = 5
_STORE_SECONDS = 4
_CLOCK = Path(__file__).parent / "integration" / "clock"
_STORE_BYTES = 1 << 30
_WIDTHS = (16, 24, 32, 48)


@dataclass
class Fault:
    """One thing that was done to the cluster."""

    name: str
    began: float
    ended: float = 0.0


@dataclass
class Kept:
    """An image that was acknowledged."""

    sha256: str
    size: tuple[int, int]
    deleted_at: float | None = None


@dataclass
class Report:
    """What was seen."""

    seconds: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[tuple[float, str]] = field(default_factory=list)
    successes: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    acknowledged: int = 0
    checked: int = 0

    def error_rate(self) -> float:
        return len(self.failures) / max(1, len(self.failures) + len(self.successes))

    def recoveries(self) -> list[tuple[str, float, float]]:
        """For each fault how long it lasted, and how long after its end the last failed request of it was answered."""
        found = []
        for number, fault in enumerate(self.faults):
            until = self.faults[number + 1].began if number + 1 < len(self.faults) else float("inf")
            after = [at - fault.ended for at, _ in self.failures if fault.ended < at < until]
            found.append((fault.name, fault.ended - fault.began, max(after, default=0.0)))
        return found

    def text(self) -> str:
        lines = [
            f"{self.seconds:.0f} s; {len(self.successes)} requests answered, {len(self.failures)} failed"
            f" ({self.error_rate():.2%}); {len(self.faults)} faults",
            f"{self.acknowledged} images acknowledged; {self.checked} answers checked at the end;"
            f" {len(self.wrong)} wrong",
            "",
            "outcome                        requests",
        ]
        lines += [f"{kind:<12} {what:<18} {count:>7}" for (kind, what), count in sorted(self.outcomes.items())]
        lines += ["", "fault                  times   lasted (s)   failures after its end (s): median, longest"]
        by_name: dict[str, list[tuple[float, float]]] = {}
        for name, lasted, after in self.recoveries():
            by_name.setdefault(name, []).append((lasted, after))
        for name, pairs in by_name.items():
            lasted = statistics.median(pair[0] for pair in pairs)
            afters = [pair[1] for pair in pairs]
            lines.append(
                f"{name:<22} {len(pairs):>5} {lasted:>12.1f} {statistics.median(afters):>20.1f}, {max(afters):.1f}"
            )
        return "\n".join(lines + self.wrong[:20])


class Cluster:
    """Nodes over one database and one store, in a folder."""

    def __init__(self, folder: Path, nodes: int, seed: int = 1, pause: float = 6.0) -> None:
        self._pause = pause
        self._stack = contextlib.ExitStack()
        self.store = S3Server(folder / "s3", _STORE_BYTES)
        self._stack.enter_context(running(self.store))
        self.database = self._stack.enter_context(postgres(folder / "postgres"))
        self._folder = folder
        self._settings = self.store.settings("cluster") | {
            "database_url": self.database.new_database(), "workers": 1, "log_level": "warning",
            "store_seconds": _STORE_SECONDS,
            "presets": '{"small": "width=16"}', "prerender": '["small.webp"]', "sweep_seconds": _SWEEP_SECONDS,
        }  # fmt: skip
        self.nodes: list[Server | None] = [None] * nodes
        for number in range(nodes):
            self.start_node(number)
        self._random = random.Random(seed)
        self._kept: dict[str, Kept] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.report = Report()

    def start_node(self, number: int) -> None:
        os.environ["TEST_CLOCK"] = str(self._clock(number))
        self.nodes[number] = Server(self._folder / f"node{number}", python_path=_CLOCK, **self._settings)

    def _clock(self, number: int) -> Path:
        return self._folder / f"clock{number}"

    def close(self) -> None:
        for node in self.nodes:
            if node:
                node.stop()
        self._stack.close()

    def run(self, seconds: float, clients: int = 4, least_faults: int = 0) -> Report:
        """Load it for so long, and until there were so many faults, one after another; then check everything."""
        began = time.monotonic()
        threads = [threading.Thread(target=self._load, args=(seed,)) for seed in range(clients)]
        for thread in threads:
            thread.start()
        faults = [self._kill_node, self._restart_database, self._pause_store, self._crash_database, self._wrong_clock]
        if self.store.has_bound:
            faults.append(self._fill_store)
        try:
            time.sleep(2)
            turn = 0
            while time.monotonic() - began < seconds - 6 or turn < least_faults:
                fault = Fault("", time.monotonic())
                self.report.faults.append(fault)
                fault.name = faults[turn % len(faults)]()
                fault.ended = time.monotonic()
                turn += 1
                time.sleep(self._random.uniform(3, 6))
                self._wait_for_an_answer(fault.ended)
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
        self.report.seconds = time.monotonic() - began
        self._check()
        return self.report

    def _wait_for_an_answer(self, since: float, seconds: float = 60.0) -> None:
        """Wait until the cluster answers again; the report says if it never did."""
        until = time.monotonic() + seconds
        while not (self.report.successes and self.report.successes[-1] > since):
            if time.monotonic() > until:
                self.report.wrong.append(f"no request was answered well for {seconds:.0f} s after a fault was over")
                return
            time.sleep(0.1)

    def _kill_node(self) -> str:
        number = self._random.randrange(len(self.nodes))
        node, self.nodes[number] = self.nodes[number], None
        assert node is not None
        node.kill()
        time.sleep(self._random.uniform(0, 2))
        self.start_node(number)
        return "kill -9 a node"

    def _restart_database(self) -> str:
        self.database.stop(signal.SIGINT)
        time.sleep(1)
        self.database.start()
        return "restart the database"

    def _crash_database(self) -> str:
        self.database.stop(signal.SIGKILL)
        self.database.start()
        return "kill -9 the database"

    def _pause_store(self) -> str:
        self.store.pause()
        time.sleep(self._random.uniform(self._pause / 6, self._pause))
        self.store.go_on()
        return "pause the store"

    def _wrong_clock(self) -> str:
        """Several sweeps of the node pass meanwhile, and it is restarted once, so that it also begins like that."""
        number = self._random.randrange(len(self.nodes))
        self._clock(number).write_text(str(_AHEAD))
        time.sleep(_SWEEP_SECONDS * 1.5)
        node = self.nodes[number]
        assert node is not None
        node.kill()
        self.start_node(number)
        time.sleep(_SWEEP_SECONDS * 1.5)
        self._clock(number).unlink()
        return "a node's clock ahead"

    def _fill_store(self) -> str:
        with self.store.full():
            time.sleep(_STORE_SECONDS + self._random.uniform(1, 3))  # else trying again helps
        return "fill the store"

    def _load(self, seed: int) -> None:
        chance = random.Random(f"load {seed}")
        clients: dict[str, httpx.Client] = {}
        while not self._over.is_set():
            node = chance.choice(self.nodes)
            if node is None:
                continue
            client = clients.setdefault(node.url, node.new_client(timeout=40))
            kind = chance.choices(("upload", "original", "rendition", "delete"), (4, 4, 4, 1))[0]
            reference = None
            if kind != "upload":
                with self._lock:
                    live = [name for name, kept in self._kept.items() if kept.deleted_at is None]
                if not live:
                    continue
                reference = chance.choice(live[-200:])
            try:
                self._once(client, kind, reference, chance)
            except httpx.TransportError as error:
                self._failed(kind, type(error).__name__)

    def _once(self, client: httpx.Client, kind: str, reference: str | None, chance: random.Random) -> None:
        if reference is None:
            width, height = chance.randrange(60, 160), chance.randrange(60, 160)
            picture = Image.frombytes("RGB", (width, height), chance.randbytes(width * height * 3))
            data = pictures.saved(picture, "PNG")
            # Every other one is to go in a week.
            answer = client.put("/storage/", content=data, params=chance.choice(({}, {"expires": "7d"})))
            if self._noted(kind, answer):
                with self._lock:
                    self._kept[answer.text] = Kept(hashlib.sha256(data).hexdigest(), (width, height))
            return
        kept = self._kept[reference]
        if kind == "delete":
            with self._lock:
                if kept.deleted_at is not None:
                    return
                kept.deleted_at = float("inf")  # others leave it alone from now on; whether it is gone is not known yet
            answer = client.delete(f"/storage/{reference}")
            if self._noted(kind, answer, 204):
                kept.deleted_at = time.monotonic()
            return
        if kind == "original":
            answer = client.get(f"/storage/{reference}")
            right = hashlib.sha256(answer.content).hexdigest() == kept.sha256
        else:
            width = chance.choice(_WIDTHS)
            answer = client.get(f"/storage/{reference}.png", params={"width": width})
            right = answer.status_code != 200 or pictures.open_bytes(answer.content).size[0] == width
        if answer.status_code == 404 and kept.deleted_at is not None:
            return  # somebody has deleted it meanwhile
        if self._noted(kind, answer) and not right:
            self.report.wrong.append(f"{kind} {reference}: other bytes than were stored")

    def _noted(self, kind: str, answer: httpx.Response, wanted: int = 200) -> bool:
        if answer.status_code == wanted:
            with self._lock:
                self.report.outcomes[kind, "well"] += 1
                self.report.successes.append(time.monotonic())
            return True
        what = answer.json()["type"].rpartition(":")[2] if "problem" in answer.headers.get("content-type", "") else ""
        self._failed(kind, f"{answer.status_code} {what}")
        if answer.status_code not in (503, 507):
            self.report.wrong.append(f"{kind}: {answer.status_code} {answer.text[:200]}")
        return False

    def _failed(self, kind: str, what: str) -> None:
        with self._lock:
            self.report.outcomes[kind, what] += 1
            self.report.failures.append((time.monotonic(), what))

    def _check(self) -> None:
        """Ask every node for every image that was acknowledged."""
        time.sleep(STALE_SECONDS)
        self.report.acknowledged = len(self._kept)
        with ThreadPoolExecutor(4) as threads:
            for wrongs in threads.map(self._check_one, list(self._kept.items())):
                self.report.wrong += wrongs
        for node in self.nodes:
            assert node is not None
            if '"status":500' in node.log() or "Traceback" in node.log():
                self.report.wrong.append(f"a node's log has a fault:\n{node.log()[-3000:]}")

    def _check_one(self, item: tuple[str, Kept]) -> list[str]:
        reference, kept = item
        wrongs, renditions = [], set()
        for number, node in enumerate(self.nodes):
            assert node is not None
            answer = node.get(reference)
            self.report.checked += 1
            if kept.deleted_at == float("inf"):  # nobody was told whether it was deleted
                right = answer.status_code == 404 or hashlib.sha256(answer.content).hexdigest() == kept.sha256
            elif kept.deleted_at is not None:
                right = answer.status_code == 404
            else:
                right = answer.status_code == 200 and hashlib.sha256(answer.content).hexdigest() == kept.sha256
                rendition = node.get(f"{reference}.png", params={"width": 16})
                renditions.add(rendition.content if rendition.status_code == 200 else b"")
            if not right:
                wrongs.append(f"node {number}: {reference} is {answer.status_code}, deleted: {kept.deleted_at}")
        if kept.deleted_at not in (None, float("inf")):
            self._check_return(reference, kept, wrongs)
        if kept.deleted_at is None and (len(renditions) != 1 or b"" in renditions):
            wrongs.append(f"{reference}: the nodes answer {len(renditions)} renditions")
        return wrongs

    def _check_return(self, reference: str, kept: Kept, wrongs: list[str]) -> None:
        """Bring an image back that was deleted, minutes ago at most."""
        node = self.nodes[0]
        assert node is not None
        answer = node.client.post(f"/storage/{reference}/undelete")
        original = node.get(reference)
        if hashlib.sha256(original.content).hexdigest() != kept.sha256:
            wrongs.append(
                f"{reference} was deleted, and can't be brought back: {answer.status_code} {answer.text[:200]}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=6.0, help="for how long the store stops at most, in seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="progimage-cluster-") as folder:
        cluster = Cluster(Path(folder), options.nodes, options.seed, options.pause)
        try:
            report = cluster.run(options.seconds, options.clients)
        finally:
            cluster.close()
    print(report.text())
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
