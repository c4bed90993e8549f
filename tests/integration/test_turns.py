"""One client's flood costs itself and no others: turns by CPU time, lanes by cost, budgets for drawings and clients."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import pictures
from tests.integration.server import Server, serving

pytestmark = pytest.mark.alone
PHOTO = pictures.saved(pictures.colour((1600, 1200)), "JPEG", quality=90)
ATTACK = (
    "ops=width:10|width:9000;height:9000;fit:fill;enlarge:true;blur:20|sharpen:10|blur:250|hue:9|rotate:45;"
    "width:6000;height:6000"
)
BEHIND_A_PROXY: dict[str, Any] = {"access": "open", "trusted_proxies": '["127.0.0.1"]'}
COSTLY = "width=1800&enlarge=true&blur={blur}&rotate=15"  # a second or two, and allowed


def drawing(circles: int) -> bytes:
    """A drawing that takes far longer than its size tells: blurs of blurs."""
    filters = "".join(f'<feGaussianBlur stdDeviation="{20 + number % 7}"/>' for number in range(circles))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="1500" height="1500"><filter id="f" x="0" y="0" width="1"'
        f' height="1">{filters}</filter><circle cx="750" cy="750" r="700" filter="url(#f)"/></svg>'
    ).encode()


@contextmanager
def flood(server: Server, count: int, requests: "Requests", address: str) -> Iterator[Counter[int]]:
    """Send requests, so many at once, for as long as the block lasts."""
    stop, answers = threading.Event(), Counter[int]()

    def send() -> None:
        with server.new_client(timeout=120, headers={"x-forwarded-for": address}) as client:
            while not stop.is_set():
                method, path, body = next(requests)
                try:
                    answer = client.request(method, path, content=body)
                except httpx.TransportError:
                    continue
                answers[answer.status_code] += 1
                if answer.status_code == 503:
                    time.sleep(0.01)

    with ThreadPoolExecutor(count) as pool:
        for _ in range(count):
            pool.submit(send)
        try:
            yield answers
        finally:
            stop.set()


@pytest.fixture
def server(data_dir: Path) -> Iterator[Server]:
    with serving(data_dir, workers=2, queue=32, **BEHIND_A_PROXY) as running:
        yield running


class Requests:
    """Requests that threads share, none of them twice."""

    def __init__(self, make) -> None:
        self._make, self._numbers = make, itertools.count()

    def __iter__(self) -> "Requests":
        return self

    def __next__(self) -> tuple[str, str, bytes | None]:
        return self._make(next(self._numbers))


def thumbnails(server: Server, reference: str, widths: range, address: str = "10.0.0.9") -> list[float]:
    """Ask for thumbnails one after the other, and return how long each took."""
    taken = []
    with server.new_client(headers={"x-forwarded-for": address}) as client:
        for width in widths:
            started = time.monotonic()
            answer = client.get(f"/storage/{reference}.jpg?width={width}")
            taken.append(time.monotonic() - started)
            assert answer.status_code == 200, answer.text
    return taken


def test_a_pipeline_beyond_all_bounds_is_refused_before_it_is_begun(data_dir: Path) -> None:
    with serving(data_dir, task_seconds=5) as server:
        reference = server.put(PHOTO)
        answers = [
            server.get(f"{reference}.jpg?{ATTACK}"),
            server.client.post(f"/transform.jpg?{ATTACK}", content=PHOTO),
        ]
        for answer in answers:
            assert answer.status_code == 400 and answer.json()["parameter"].startswith("ops "), answer.text
            assert "15 seconds of CPU time" in answer.json()["allowed"]


def test_a_flood_of_what_costs_most_does_not_keep_others_waiting(server: Server) -> None:
    reference = server.put(PHOTO)
    blurs = Requests(lambda n: ("GET", f"/storage/{reference}.jpg?{COSTLY.format(blur=20 + n / 10)}", None))
    thumbnails(server, reference, range(50, 54))
    alone = sorted(thumbnails(server, reference, range(60, 90)))
    with flood(server, 24, blurs, "10.0.0.1") as answers:
        while not answers[503]:  # the queue is full
            time.sleep(0.05)
        beside = sorted(thumbnails(server, reference, range(100, 160)))
    assert set(answers) <= {200, 503, 422} and answers[503]
    # Twice as long, since all cores are busy, and a light task that may be running.
    assert beside[len(beside) // 2] < 2 * alone[len(alone) // 2] + 0.3, (alone, beside)


def test_a_flood_of_light_requests_does_not_keep_others_waiting(server: Server) -> None:
    reference = server.put(PHOTO)
    path = f"/storage/{reference}.webp"
    many = Requests(lambda n: ("GET", f"{path}?width={200 + n % 400}&sharpen={(3 + n % 90) / 10}", None))
    alone = sorted(thumbnails(server, reference, range(60, 90)))
    with flood(server, 40, many, "10.0.0.2") as answers:
        while sum(answers.values()) < 300:
            time.sleep(0.05)
        beside = sorted(thumbnails(server, reference, range(100, 160)))
    assert set(answers) <= {200, 503}
    assert beside[len(beside) // 2] < 2 * alone[len(alone) // 2] + 0.3, (alone, beside)


def test_drawings_have_a_budget_of_their_own(data_dir: Path) -> None:
    with serving(data_dir, workers=2, drawing_seconds=4, **BEHIND_A_PROXY) as server:
        reference = server.put(PHOTO)
        hostile = drawing(60)
        with ThreadPoolExecutor(4) as pool:
            posts = [pool.submit(server.client.put, "/storage/", content=hostile) for _ in range(4)]
            while not any(post.done() for post in posts):
                assert max(thumbnails(server, reference, range(50, 55))) < 1
            answers = [post.result() for post in posts]
        for answer in answers:
            assert answer.status_code == 422, answer.text
            assert answer.json()["type"].endswith("drawing-too-costly") and "4 seconds" in answer.json()["allowed"]
        assert server.put(pictures.SVG if isinstance(pictures.SVG, bytes) else pictures.SVG.encode())
        mark = server.put(drawing(1))
        marked = server.get(f"{reference}.png?width=100&watermark={mark}")
        assert marked.status_code in (200, 422)


def test_cpu_time_can_be_a_budget_of_each_client(data_dir: Path) -> None:
    with serving(data_dir, workers=2, cpu_per_address="2/minute", **BEHIND_A_PROXY) as server:
        reference = server.put(PHOTO)
        with server.new_client(headers={"x-forwarded-for": "10.0.0.1"}, timeout=120) as spender:
            for number in range(60):
                answer = spender.get(f"/storage/{reference}.jpg?{COSTLY.format(blur=20 + number)}")
                if answer.status_code != 200:
                    break
            assert answer.status_code == 429, number
            assert answer.headers["ratelimit-policy"] == '"cpu";q=2;w=60'
            assert answer.headers["ratelimit"].startswith('"cpu";r=0;t=') and int(answer.headers["retry-after"]) > 0
            assert "CPU time" in answer.json()["detail"]
            assert spender.get(f"/storage/{reference}").status_code == 200  # which takes no worker
        assert max(thumbnails(server, reference, range(50, 55), "10.0.0.2")) < 5
