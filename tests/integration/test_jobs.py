"""Work in the background: done once in effect, whatever is killed, tried again with pauses, and to be seen."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import pictures
from tests.integration.server import PROGIMAGE, Server, eventually, serving

PNG = pictures.BY_MODE["RGB"]()
PRESETS = json.dumps({"small": "width=40", "round": "width=30&height=30&radius=max"})


class Site:
    """A web server whose answers the test decides, by path; it counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.answer: Callable[[str], tuple[int, bytes]] = lambda path: (200, PNG)
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                site.asked.append((self.command, self.path, body, dict(self.headers.items())))
                status, data = site.answer(self.path)
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def settings(self) -> dict[str, Any]:
        return {"upload_by_url": True, "fetch_private_networks": '["127.0.0.0/8"]', "fetch_ports": f"[{self.port}]"}


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()


def progress(server: Server, job: str) -> dict:
    answer = server.client.get(f"/jobs/{job}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_presets_are_rendered_before_anybody_asks(data_dir: Path) -> None:
    prerender = json.dumps(["small.webp", "round.png"])
    with serving(data_dir, presets=PRESETS, prerender=prerender) as server:
        reference = server.put(PNG)
        eventually(lambda: progress(server, f"prerender-{reference}")["state"] == "done")
        (part,) = progress(server, f"prerender-{reference}")["parts"]
        assert part["result"] == {"made": ["small.webp", "round.png"], "failed": {}}
        assert part["arguments"]["reference"] == reference and part["owner"] == "default"
        for path in (f"{reference}.webp?preset=small", f"{reference}.png?preset=round"):
            assert server.get(path).status_code == 200
        metrics = server.client.get("/metrics").text
        assert 'cache_hits_total{format="WEBP"} 1.0' in metrics and 'cache_hits_total{format="PNG"} 1.0' in metrics
        assert 'progimage_jobs{kind="prerender",state="waiting"} 0.0' in metrics
        # What can't be made of this image is said, and done once.
        listed = server.client.get("/jobs", params={"kind": "prerender", "state": "done"}).json()["jobs"]
        assert [job["id"] for job in listed] == [f"prerender-{reference}"]
        assert f"prerender-{reference}" in server.command("jobs", "list", "--kind", "prerender", "--json")
        for wrong in ("kind=x", "state=x", "limit=0", "cursor=x", "offset=1", "bogus=1"):
            assert server.client.get(f"/jobs?{wrong}").status_code == 400, wrong
        assert server.client.get("/jobs/nothing").status_code == 404


def test_imports_go_on_whatever_is_killed(data_dir: Path, site: Site) -> None:
    def slowly(path: str) -> tuple[int, bytes]:
        time.sleep(0.2)
        return 200, PNG

    site.answer = slowly
    urls = [f"{site.url}/{number}.png" for number in range(24)]
    with contextlib.ExitStack() as servers:
        server = servers.enter_context(serving(data_dir, **site.settings()))
        begun = server.client.post("/storage/import", json={"urls": urls, "background": True, "labels": ["imported"]})
        assert begun.status_code == 202 and begun.headers["location"] == begun.json()["url"], begun.text
        job, references = begun.json()["job"], begun.json()["references"]
        eventually(lambda: progress(server, job)["done"] >= 4)
        server.kill()  # with jobs under way
    with contextlib.ExitStack() as servers:
        server = servers.enter_context(serving(data_dir, **site.settings()))
        before = progress(server, job)["done"]
        eventually(lambda: progress(server, job)["done"] >= min(24, before + 4), 60)
        server.kill()
    with serving(data_dir, **site.settings()) as server:
        eventually(lambda: progress(server, job)["state"] == "done", 60)
        assert progress(server, job)["total"] == progress(server, job)["done"] == 24
        stored = server.client.get("/storage/", params={"limit": 100}).json()["images"]
        assert sorted(image["reference"] for image in stored) == sorted(references)  # each of them once
        assert server.client.get("/account").json()["images"] == 24
        for reference in references:
            assert server.get(reference).content == PNG
        shown = server.command("jobs", "show", job, "--json").splitlines()
        assert len(shown) == 24 and all(json.loads(line)["state"] == "done" for line in shown)


def test_what_fails_is_tried_again_with_pauses_and_by_hand(data_dir: Path, site: Site) -> None:
    times: dict[str, list[float]] = {}

    def fails(path: str) -> tuple[int, bytes]:
        times.setdefault(path, []).append(time.monotonic())
        if path == "/late.png":
            return (200, PNG) if len(times[path]) == 3 else (503, b"")
        return 200, b"this is no picture"

    site.answer = fails
    with serving(data_dir, **site.settings()) as server:
        urls = [f"{site.url}/late.png", f"{site.url}/text.png", "ftp://example.org/a.png"]
        job = server.client.post("/storage/import", json={"urls": urls, "background": True}).json()["job"]
        eventually(lambda: progress(server, job)["state"] == "failed", 40)
        parts = progress(server, job)["parts"]
        assert [part["state"] for part in parts] == ["done", "failed", "failed"]
        first, second, third = times["/late.png"]
        assert 0.9 < second - first < 6 and 1.9 < third - second < 8
        assert len(times["/text.png"]) == 1  # trying again would not help
        assert parts[1]["problem"]["type"].endswith("not-an-image") and parts[1]["problem"]["status"] == 400
        assert parts[2]["problem"]["type"].endswith("url-refused")
        site.answer = lambda path: (200, PNG)
        server.client.post(f"/jobs/{job}/retry")
        eventually(lambda: progress(server, job)["done"] == 2)
        assert server.client.post("/jobs/nothing/retry").status_code == 404
    with serving(data_dir) as server:  # where nothing is fetched, nothing is promised
        answer = server.client.post("/storage/import", json={"urls": urls, "background": True})
        assert answer.status_code == 403 and answer.json()["type"].endswith("url-not-allowed")


def test_a_cdn_is_told_what_must_not_be_seen_any_more(data_dir: Path, site: Site) -> None:
    answers = iter([(503, b""), (200, b"")])
    site.answer = lambda path: next(answers, (200, b""))
    settings: dict[str, Any] = {
        "purge_url": f"{site.url}/purge", "purge_headers": '{"Fastly-Key": "secret"}',
        "surrogate_header": "Surrogate-Key", "signing_keys": '["0123456789abcdef"]', "sweep_seconds": 1,
    }  # fmt: skip
    with serving(data_dir, **settings) as server:
        one, two, three = (server.put(PNG) for _ in range(3))
        assert server.get(one).headers["surrogate-key"] == one
        for path in (f"{two}.webp", f"{two}.webp"):  # the second one from memory
            assert server.get(path).headers["surrogate-key"] == two
        server.client.delete(f"/storage/{one}")
        server.client.patch(f"/storage/{two}", json={"visibility": "signed"})
        server.client.patch(f"/storage/{three}", json={"labels": ["nothing", "to", "hide"]})
        short = server.client.put("/storage/", content=PNG, params={"expires": "1s"}).text

        def told() -> set[str]:
            return {json.loads(body)["surrogate_keys"][0] for _, _, body, _ in site.asked}

        eventually(lambda: told() == {one, two, short} and len(site.asked) >= 4)
        method, path, _, headers = site.asked[0]
        assert (method, path, headers["Fastly-Key"]) == ("POST", "/purge", "secret")
        eventually(lambda: not server.client.get("/jobs", params={"kind": "purge", "state": "waiting"}).json()["jobs"])


def test_jobs_are_their_owners_business(data_dir: Path, site: Site) -> None:
    with serving(data_dir, access="keys", **site.settings()) as server:
        alice, bob = server.as_owner("alice"), server.as_owner("bob")
        begun = alice.post("/storage/import", json={"urls": [f"{site.url}/a.png"], "background": True}).json()
        eventually(lambda: alice.get(begun["url"]).json()["state"] == "done")
        assert alice.get(f"/storage/{begun['references'][0]}").content == PNG
        assert alice.get("/account").json()["images"] == 1 and bob.get("/account").json()["images"] == 0
        assert bob.get(begun["url"]).status_code == 404 and bob.get("/jobs").json()["jobs"] == []
        assert httpx.get(f"{server.url}{begun['url']}").status_code == 401
        assert bob.post(f"{begun['url']}/retry").status_code == 404
        admin = server.as_owner("operator", "admin")
        assert [job["owner"] for job in admin.get("/jobs?kind=import").json()["jobs"]] == ["alice"]


def test_a_node_can_leave_the_jobs_to_others(data_dir: Path) -> None:
    settings: dict[str, Any] = {"presets": PRESETS, "prerender": '["small.webp"]'}
    with serving(data_dir, jobs=0, **settings) as server:
        reference = server.put(PNG)
        time.sleep(3)
        assert progress(server, f"prerender-{reference}")["state"] == "waiting"
    with serving(data_dir, **settings) as server:
        eventually(lambda: progress(server, f"prerender-{reference}")["state"] == "done")


@pytest.mark.parametrize("wrong", ['["nope.webp"]', '["small.xyz"]', '["small"]'])
def test_what_is_prerendered_has_to_be_there(data_dir: Path, wrong: str) -> None:
    import os
    import subprocess

    environment = os.environ | {"PROGIMAGE_PRESETS": PRESETS, "PROGIMAGE_PRERENDER": wrong}
    done = subprocess.run([PROGIMAGE, "serve"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "prerender" in done.stderr
