"""From upload to the end: labels, lists, expiry, retention, holds, deleting, bringing back, checking the bytes."""

import json
import sqlite3
import subprocess
import time
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import pictures
from tests.blobs import blob_file, blob_files, old_blob_file
from tests.integration.server import PROGIMAGE, Server, eventually, serving

PNG = pictures.BY_MODE["RGB"]()
GIF = pictures.animation()


def kind(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def listed(client: httpx.Client, **query: Any) -> list[str]:
    answer = client.get("/storage/", params=query)
    assert answer.status_code == 200, answer.text
    return [image["reference"] for image in answer.json()["images"]]


def test_lists_are_paged_and_narrowed(server: Server) -> None:
    alice, bob = server.as_owner("alice"), server.as_owner("bob")
    began = datetime.now(UTC).isoformat()
    pngs = [alice.put("/storage/", content=PNG, params={"label": ["a", f"n{n % 2}"]}).text for n in range(5)]
    between = datetime.now(UTC).isoformat()
    gif = alice.put("/storage/", content=GIF, params={"label": "b"}).text
    bob.put("/storage/", content=PNG, params={"label": "a"})
    everything = [gif, *reversed(pngs)]
    assert listed(alice) == everything and listed(alice, owner="alice") == everything
    pages, query = [], {"limit": 4}
    while True:
        page = alice.get("/storage/", params=query).json()
        pages.append([image["reference"] for image in page["images"]])
        if page["next"] is None:
            break
        if len(pages) == 1:  # what comes between two pages moves neither
            alice.delete(f"/storage/{alice.put('/storage/', content=PNG).text}?permanently")
        query["cursor"] = page["next"]
    assert [len(page) for page in pages] == [4, 2] and list(chain(*pages)) == everything
    assert listed(alice, format="gif") == [gif] == listed(alice, label="b") == listed(alice, after=between)
    assert listed(alice, label=["a", "n1"]) == [pngs[3], pngs[1]]
    assert listed(alice, before=between, after=began) == everything[1:]
    small, large = sorted((len(PNG), len(GIF)))
    assert set(listed(alice, max_bytes=small)) | set(listed(alice, min_bytes=large)) == set(everything)
    assert listed(alice, min_bytes=large + 1) == [] == listed(alice, label="c")
    for wrong in (
        "limit=0",
        "limit=x",
        "cursor=x",
        "format=x",
        "min_bytes=-1",
        "after=soon",
        "bogus=1",
        "label=",
        "limit=1&limit=2",
    ):
        answer = alice.get(f"/storage/?{wrong}")
        assert answer.status_code == 400 or wrong == "limit=1&limit=2", wrong
    assert listed(alice, deleted="true") == []


def test_what_is_said_of_an_image(server: Server) -> None:
    metadata = {"camera": "X1", "täg": "é"}
    said: dict[str, Any] = {
        "label": ["sea", "summer"],
        "metadata": json.dumps(metadata),
        "visibility": "signed",
        "expires": "P1DT2H",
    }
    by_query = server.client.put("/storage/", content=PNG, params=said).text
    form: list[tuple[str, tuple[str | None, str | bytes]]] = [("data", ("x.png", PNG))]
    form += [("label", (None, label)) for label in said["label"]]
    form += [(name, (None, said[name])) for name in ("metadata", "visibility", "expires")]
    by_form = server.client.post("/storage/", files=form).text
    for reference in (by_query, by_form):
        info = server.get(f"{reference}/info").json()
        assert info["labels"] == ["sea", "summer"] and info["metadata"] == metadata and info["visibility"] == "signed"
        lasts = datetime.fromisoformat(info["expires_at"]) - datetime.now(UTC)
        assert timedelta(hours=25.9) < lasts < timedelta(hours=26)
    patched = server.client.patch(
        f"/storage/{by_form}", json={"metadata": {"camera": None, "lens": "50"}, "labels": ["a"]}
    )
    assert patched.json()["metadata"] == {"täg": "é", "lens": "50"} and patched.json()["labels"] == ["a"]
    assert patched.json()["visibility"] == "signed" and patched.json()["expires_at"] == info["expires_at"]
    cleared = server.client.patch(
        f"/storage/{by_form}", json={"metadata": None, "labels": None, "expires": None, "visibility": None}
    )
    assert (
        cleared.json()["metadata"] == {}
        and cleared.json()["expires_at"] is None
        and cleared.json()["visibility"] == "public"
    )
    assert (
        server.client.patch(f"/storage/{by_form}", json={"expires": "2100-01-01"}).json()["expires_at"]
        == "2100-01-01T00:00:00.000000+00:00"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("expires", "0"), ("expires", "yesterday"), ("expires", "2001-01-01"), ("expires", "9999-01-01"), ("expires", "P"),
     ("expires", "99999999999d"), ("visibility", "all"), ("label", ""), ("label", "a" * 101), ("label", "a\nb"),
     ("metadata", "x"), ("metadata", "[1]"), ("metadata", '{"a": 1}'), ("metadata", json.dumps({"a": "b" * 5000}))],
)  # fmt: skip
def test_what_can_not_be_said(server: Server, name: str, value: str) -> None:
    answer = server.client.put("/storage/", content=PNG, params={name: value})
    assert (
        kind(answer) == (400, "invalid-parameter") and answer.json()["parameter"] == name and answer.json()["allowed"]
    )


@pytest.mark.alone
def test_images_expire(data_dir: Path) -> None:
    with serving(data_dir, sweep_seconds=1, undelete_seconds=3, orphan_grace_seconds=1) as server:
        reference = server.client.put("/storage/", content=PNG, params={"expires": "4"}).text
        kept = server.put(GIF)
        for _ in range(2):
            answer = server.get(reference)
            assert answer.status_code == 200 and int(answer.headers["cache-control"].rpartition("max-age=")[2]) <= 4
            assert server.get(f"{reference}.webp").status_code == 200
        time.sleep(4.1)
        assert server.get(reference).status_code == server.get(f"{reference}.webp").status_code == 404
        assert listed(server.client) == [kept]
        eventually(lambda: server.client.post(f"/storage/{reference}/undelete").status_code == 200)
        assert server.get(reference).content == PNG and server.get(f"{reference}/info").json()["expires_at"] is None
        server.client.patch(f"/storage/{reference}", json={"expires": "1"})
        blobs = lambda: len(blob_files(data_dir / "blobs"))  # noqa: E731
        assert blobs() == 2
        eventually(lambda: blobs() == 1)  # expired, past bringing back, its bytes swept
        assert server.client.post(f"/storage/{reference}/undelete").status_code == 404
        assert server.client.get("/account").json()["images"] == 1
        actions = [
            json.loads(line)["action"]
            for line in server.command("audit", "--json", "--reference", reference).splitlines()
        ]
        assert actions == ["purge", "expire", "change", "undelete", "expire", "upload"]


def test_an_owner_has_a_retention_of_its_own(server: Server) -> None:
    server.command("owners", "set", "brief", "--retention", "2d")
    client = server.as_owner("brief")
    usual, said = (
        client.put("/storage/", content=PNG).text,
        client.put("/storage/", content=PNG, params={"expires": "1h"}).text,
    )
    left = [
        datetime.fromisoformat(client.get(f"/storage/{r}/info").json()["expires_at"]) - datetime.now(UTC)
        for r in (usual, said)
    ]
    assert timedelta(days=1.99) < left[0] < timedelta(days=2) and left[1] < timedelta(hours=1)
    assert "172800" in server.command("owners", "list")
    cleared = client.patch(f"/storage/{said}", json={"expires": None}).json()
    as_usual = datetime.fromisoformat(cleared["expires_at"]) - datetime.fromisoformat(cleared["uploaded_at"])
    assert as_usual == timedelta(days=2)


def test_deleted_images_can_be_brought_back(server: Server) -> None:
    client = server.as_owner("clumsy")
    reference = client.put("/storage/", content=PNG, params={"label": "x"}).text
    rendition = client.get(f"/storage/{reference}.webp").content
    before = client.get(f"/storage/{reference}/info").json()
    assert client.delete(f"/storage/{reference}").status_code == 204
    assert (
        client.get(f"/storage/{reference}").status_code == client.get(f"/storage/{reference}/info").status_code == 404
    )
    assert (
        kind(client.delete(f"/storage/{reference}"))
        == kind(client.patch(f"/storage/{reference}", json={}))
        == (404, "unknown-reference")
    )
    assert listed(client) == [] and listed(client, deleted="true") == [reference]
    assert kind(server.as_owner("thief").post(f"/storage/{reference}/undelete")) == (404, "unknown-reference")
    assert client.post(f"/storage/{reference}/undelete").json() == before
    assert (
        client.get(f"/storage/{reference}").content == PNG
        and client.get(f"/storage/{reference}.webp").content == rendition
    )
    assert client.post(f"/storage/{reference}/undelete").status_code == 404
    assert client.delete(f"/storage/{reference}?permanently").status_code == 204
    assert client.post(f"/storage/{reference}/undelete").status_code == 404 and listed(client, deleted="") == []
    assert kind(client.delete(f"/storage/{reference}?permanently=maybe")) == (400, "invalid-parameter")


def test_a_legal_hold_keeps_an_image(data_dir: Path) -> None:
    with serving(data_dir, sweep_seconds=1, undelete_seconds=0, access="keys") as server:
        alice, admin = server.as_owner("alice"), server.as_owner("root", "admin")
        reference = alice.put("/storage/", content=PNG, params={"expires": "5"}).text
        assert kind(alice.patch(f"/storage/{reference}", json={"held": True})) == (403, "scope-missing")
        assert admin.patch(f"/storage/{reference}", json={"held": True}).json()["held"]
        for client in (alice, admin):
            for query in ("", "?permanently"):
                assert kind(client.delete(f"/storage/{reference}{query}")) == (409, "held")
        time.sleep(7)  # it has expired, and was swept
        assert alice.get(f"/storage/{reference}").content == PNG
        assert admin.patch(f"/storage/{reference}", json={"held": False}).status_code == 200
        eventually(lambda: alice.get(f"/storage/{reference}").status_code == 404)


def test_the_audit_log_is_kept_for_its_time(data_dir: Path) -> None:
    with serving(data_dir) as server:
        server.put(PNG)
    with sqlite3.connect(data_dir / "progimage.sqlite") as database:
        for days in (1, 2, 3):
            database.execute(
                "INSERT INTO audit (at, action) VALUES (?, ?)", (time.time() - days * 86400 - 60, f"old-{days}")
            )
    with serving(data_dir, audit_seconds=2 * 86400, sweep_seconds=1) as server:
        eventually(lambda: "old-2" not in server.command("audit"))
        kept = server.command("audit")
        assert "old-1" in kept and "upload" in kept and "old-3" not in kept


def progimage(data_dir: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
    import os

    environment = (
        dict(os.environ)
        | {"PROGIMAGE_DATA_DIR": str(data_dir)}
        | {f"PROGIMAGE_{n.upper()}": v for n, v in settings.items()}
    )
    return subprocess.run([PROGIMAGE, *arguments], env=environment, capture_output=True, text=True, timeout=120)


def test_scrubbing_finds_and_restores(tmp_path: Path) -> None:
    data_dir, second = tmp_path / "data", tmp_path / "second"
    photo = pictures.detailed(2000, 1400).jpegsave_buffer()
    with serving(data_dir, scrub_rate=0) as server:
        whole, flipped, cut, gone, laddered = (
            server.put(data) for data in (PNG, GIF, pictures.pages(), pictures.SVG, photo)
        )
        digests = {r: server.get(f"{r}/info").json()["sha256"] for r in (whole, flipped, cut, gone, laddered)}
    blob = {reference: blob_file(data_dir / "blobs", digest) for reference, digest in digests.items()}
    assert progimage(data_dir, "scrub").stdout == ""
    originals = {reference: path.read_bytes() for reference, path in blob.items()}
    damaged = bytearray(originals[flipped])
    damaged[len(damaged) // 2] ^= 1
    blob[flipped].write_bytes(damaged)
    blob[cut].write_bytes(originals[cut][:-1])
    blob[gone].unlink()
    next(blob[laddered].parent.glob(f"{blob[laddered].name}-512")).unlink()
    done = progimage(data_dir, "scrub", "--json")
    found = {line["sha256"]: line["state"] for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    assert found == {
        digests[flipped]: "damaged",
        digests[cut]: "damaged",
        digests[gone]: "missing",
        digests[laddered]: "ladder-dropped",
    }
    assert "error" in progimage(data_dir, "doctor").stdout
    for reference in (flipped, cut):  # a copy of one of them, and a damaged copy of another
        target = old_blob_file(second, digests[reference])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(originals[reference] if reference == flipped else bytes(damaged))
    done = progimage(data_dir, "scrub", "--json", second_blobs_url=second.as_uri())
    found = {line["sha256"]: line["state"] for line in map(json.loads, done.stdout.splitlines())}
    assert found == {digests[flipped]: "restored", digests[cut]: "damaged", digests[gone]: "missing"}
    with serving(data_dir, scrub_rate=0) as server:
        assert server.get(flipped).content == originals[flipped] and server.get(whole).content == PNG
        assert server.get(f"{laddered}.webp?width=300").status_code == 200
        assert "progimage_blobs_damaged 2.0" in server.client.get("/metrics").text
        assert server.put(originals[cut]) != cut and server.get(cut).content == originals[cut]
        assert "blob-restored" in server.command("audit")


def test_scrubbing_in_the_background(data_dir: Path) -> None:
    with serving(data_dir) as server:
        reference = server.put(PNG)
        digest = server.get(f"{reference}/info").json()["sha256"]
    with sqlite3.connect(data_dir / "progimage.sqlite") as database:
        database.execute("UPDATE blobs SET checked_at = 1")
    path = blob_file(data_dir / "blobs", digest)
    path.write_bytes(b"x" * len(PNG))
    with serving(data_dir, http_processes=2, workers=2) as server:
        eventually(lambda: "progimage_blobs_damaged 1.0" in server.client.get("/metrics").text)
        assert digest in server.log()
        events = server.command("audit", "--action", "blob-damaged", "--json").splitlines()
        assert len(events) == 1  # one process of the node did it


def test_an_upload_heals_a_damaged_blob(data_dir: Path) -> None:
    with serving(data_dir, scrub_rate=0) as server:
        reference = server.put(PNG)
        digest = server.get(f"{reference}/info").json()["sha256"]
        blob_file(data_dir / "blobs", digest).write_bytes(b"x")
        other = server.as_owner("other")
        assert other.put("/storage/", content=PNG).status_code == 200
        assert httpx.get(f"{server.url}/storage/{reference}").content == PNG


def test_the_doctor(tmp_path: Path) -> None:
    well = progimage(tmp_path / "data", "doctor")
    assert well.returncode == 0 and "error" not in well.stdout and "a worker wrote JPEG" in well.stdout, well.stdout
    for settings, what in (
        ({"access": "keys"}, "none exists"),
        ({"host": "0.0.0.0"}, "PROGIMAGE_ACCESS"),
        ({"rate_limits_url": "redis://127.0.0.1:1/0"}, "rate limits"),
        ({"second_blobs_url": "file:///proc/nowhere"}, "second store"),
    ):
        ill = progimage(tmp_path / "data", "doctor", "--json", **settings)
        wrong = [line for line in map(json.loads, ill.stdout.splitlines()) if line["verdict"] == "error"]
        assert ill.returncode == 1 and len(wrong) == 1 and what in str(wrong), (settings, ill.stdout, ill.stderr)


def test_serving_others_has_to_be_asked_for(tmp_path: Path) -> None:
    refused = progimage(tmp_path / "data", "serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 1 and "PROGIMAGE_ACCESS=keys" in refused.stderr and not (tmp_path / "data").exists()
    for host in ("127.0.0.1", "localhost"):
        command: list[str | Path] = [PROGIMAGE, "serve", "--host", host, "--port", "0", "--data-dir", tmp_path / host]
        started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert started.stderr and "is listening on" in started.stderr.readline()
        started.terminate()
        started.wait()
