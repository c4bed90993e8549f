"""Backups: what was acknowledged before one began is in it, and is the same elsewhere, whatever is killed meanwhile."""

import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests import pictures
from tests.blobs import blob_files
from tests.integration.server import PROGIMAGE, Server, eventually, serving
from tests.servers import ORDINARY, Postgres, S3Server, can_mount


def photo(seed: int) -> bytes:
    return pictures.saved(pictures.colour((60 + seed, 40)), "JPEG")


def large(seed: int) -> bytes:
    return pictures.saved(pictures.colour((1200 + seed, 900)), "JPEG")


def heavy() -> bytes:
    """A picture of 1.9 MB."""
    return pictures.saved(Image.frombytes("RGB", (800, 800), random.Random(1).randbytes(800 * 800 * 3)), "PNG")


def environment_of(data_dir: Path, **settings: Any) -> dict[str, str]:
    given = {f"PROGIMAGE_{name.upper()}": str(value) for name, value in settings.items()}
    return os.environ | given | {"PROGIMAGE_DATA_DIR": str(data_dir)}


def command(
    data_dir: Path, *arguments: object, code: int = 0, wrapper: Sequence[object] = (), **settings: Any
) -> subprocess.CompletedProcess:
    """Run a command of a deployment, perhaps by another one."""
    words = [*map(str, wrapper), PROGIMAGE, *map(str, arguments)]
    done = subprocess.run(words, env=environment_of(data_dir, **settings), capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def backup(data_dir: Path, target: object, *options: object, code: int = 0, **settings: Any) -> dict:
    return json.loads(command(data_dir, "backup", target, "--json", *options, code=code, **settings).stdout)


def faults(data_dir: Path, *options: object, code: int = 1, **settings: Any) -> list[tuple[str, str, bool]]:
    """What `progimage check` finds: the kind, the name, and whether it was repaired."""
    lines = command(data_dir, "check", "--json", *options, code=code, **settings).stdout.splitlines()
    return [(one["kind"], one["name"], one["repaired"]) for one in map(json.loads, lines)]


@contextmanager
def uploading(server: Server) -> Iterator[dict[str, bytes]]:
    """Upload and delete images all the time, and give what was acknowledged and is not deleted."""
    there: dict[str, bytes] = {}
    stopped = threading.Event()

    def work(first: int) -> None:
        with server.new_client() as client:
            for seed in range(first, first + 10_000):
                if stopped.is_set():
                    return
                data = photo(seed % 400)
                there[client.put("/storage/", content=data).raise_for_status().text] = data
                if seed % 5 == 0:
                    gone = client.put("/storage/", content=photo(500 + seed % 400)).raise_for_status().text
                    client.delete(f"/storage/{gone}?permanently=true").raise_for_status()

    threads = [threading.Thread(target=work, args=(n * 100_000,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield there
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def require_same(server: Server, images: dict[str, bytes]) -> None:
    with server.new_client() as client:
        for reference, data in images.items():
            answer = client.get(f"/storage/{reference}")
            assert answer.status_code == 200, (reference, answer.text)
            assert answer.content == data
            assert client.get(f"/storage/{reference}.webp?width=20").status_code == 200


def killed(data_dir: Path, after: float, *arguments: object, **settings: Any) -> bool:
    """Start a command, kill it after some seconds, and return whether it was still going."""
    process = subprocess.Popen(
        [PROGIMAGE, *map(str, arguments)], env=environment_of(data_dir, **settings), stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def test_a_backup_under_load_with_kills_is_the_same_images_elsewhere(data_dir: Path, tmp_path: Path) -> None:
    target, generator = tmp_path / "target", random.Random(3)
    sweeping: dict[str, Any] = {"orphan_grace_seconds": 1, "sweep_seconds": 1}
    with serving(data_dir, **sweeping) as server:
        first = {server.put(data): data for data in map(large, range(6))}
        with uploading(server) as there:
            eventually(lambda: len(there) > 30)
            kills = [killed(data_dir, generator.uniform(0.5, 1.6), "backup", target, **sweeping) for _ in range(5)]
            acknowledged = first | dict(there)
            made = backup(data_dir, target, **sweeping)
    assert any(kills)
    assert made["missing"] == 0 and made["images"] >= len(acknowledged)
    assert command(data_dir, "backups", "verify", target).stdout.splitlines() == ["name  state"]
    elsewhere = tmp_path / "elsewhere"
    again = [killed(elsewhere, generator.uniform(0.5, 1.2), "restore", target) for _ in range(4)]
    if again[-1]:
        command(elsewhere, "restore", target)
    with serving(elsewhere) as server:
        require_same(server, acknowledged)
    assert faults(elsewhere, "--deep", code=0) == []


@pytest.mark.parametrize("way", ["to a bucket and PostgreSQL", "from a bucket and PostgreSQL"])
def test_a_backup_goes_from_one_kind_of_deployment_to_another(
    data_dir: Path, tmp_path: Path, database: Postgres, s3: S3Server, way: str
) -> None:
    cloud = {**s3.settings(f"live{len(way)}"), "database_url": database.new_database()}
    there, here = (cloud, {}) if way.startswith("from") else ({}, cloud)
    bucket = s3.settings(f"backups{len(way)}")
    options = [f"--option={name}={value}" for name, value in json.loads(bucket["blobs_options"]).items()]
    target = [f"{bucket['blobs_url']}/progimage", *options]
    with serving(data_dir, **there) as server:
        with server.as_owner("shop") as shop:
            said = {"label": ["two", "one"], "visibility": "key", "metadata": '{"shelf": "7"}'}
            kept = shop.put("/storage/", params=said, content=large(1)).text
            before = shop.get(f"/storage/{kept}/info").json()
            key = shop.headers["authorization"]
        images = {server.put(data): data for data in map(photo, range(20))}
        deleted, *_ = images
        assert server.client.delete(f"/storage/{deleted}").status_code == 204
        made = backup(data_dir, *target, **there)
        assert made["images"] == 21 and made["copied"] > 20
        assert backup(data_dir, *target, **there)["copied"] == 0
    elsewhere = tmp_path / "elsewhere"
    command(elsewhere, "restore", *target, **here)
    data = images.pop(deleted)
    with serving(elsewhere, **here) as server:
        require_same(server, images)
        assert server.get(deleted).status_code == 404
        assert server.client.post(f"/storage/{deleted}/undelete").status_code == 200
        assert server.get(deleted).content == data
        answer = server.client.get(f"/storage/{kept}/info", headers={"authorization": key})
        assert answer.json() == before
        assert server.put(photo(99))
    assert faults(elsewhere, "--deep", code=0, **here) == []


def test_a_restore_needs_a_deployment_without_images(data_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    with serving(data_dir) as server:
        images = {server.put(data): data for data in map(photo, range(3))}
        backup(data_dir, target)
    assert "has images" in command(data_dir, "restore", target, code=1).stderr
    elsewhere = tmp_path / "elsewhere"
    with serving(elsewhere) as server:
        server.as_owner("nobody")
    command(elsewhere, "restore", target)
    assert "nobody" not in command(elsewhere, "keys", "list").stdout
    with serving(elsewhere) as server:
        require_same(server, images)
    with serving(data_dir) as server:
        require_same(server, images)


def test_a_restore_does_not_go_beside_a_running_service(data_dir: Path, tmp_path: Path) -> None:
    with serving(data_dir) as server:
        server.put(photo(1))
        backup(data_dir, tmp_path / "target")
    with serving(tmp_path / "elsewhere"):
        done = command(tmp_path / "elsewhere", "restore", tmp_path / "target", code=1)
    assert "is running" in done.stderr
    command(tmp_path / "elsewhere", "restore", tmp_path / "target")


def test_a_restore_does_not_go_beside_a_node_elsewhere(data_dir: Path, tmp_path: Path, database: Postgres) -> None:
    with serving(data_dir) as server:
        server.put(photo(1))
        backup(data_dir, tmp_path / "target")
    shared: dict[str, Any] = {"database_url": database.new_database()}
    with serving(tmp_path / "node", **shared):
        done = command(tmp_path / "elsewhere", "restore", tmp_path / "target", code=1, **shared)
    assert "is running" in done.stderr


def test_the_service_does_not_start_before_a_restore_has_ended(data_dir: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    with serving(data_dir) as server:
        images = {server.put(data): data for data in map(photo, range(5))}
        images[server.put(heavy())] = heavy()
        backup(data_dir, target)
    limited(elsewhere, 1200, "restore", target)
    started = subprocess.run(
        [PROGIMAGE, "serve", "--port", "0"], env=environment_of(elsewhere), capture_output=True, text=True, timeout=60
    )
    assert started.returncode == 1 and "progimage restore" in started.stderr
    command(elsewhere, "restore", target)
    with serving(elsewhere) as server:
        require_same(server, images)


def test_what_is_damaged_is_named_and_the_rest_is_in_the_backup(data_dir: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    with serving(data_dir) as server:
        images = {server.put(data): data for data in map(photo, range(5))}
        reference, data = next(iter(images.items()))
    (file,) = (path for path in blob_files(data_dir / "blobs") if path.name == hashlib.sha256(data).hexdigest())
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert backup(data_dir, target, code=1)["missing"] == 1
    command(elsewhere, "restore", target, code=1)
    del images[reference]
    with serving(elsewhere) as server:
        require_same(server, images)
        assert server.get(reference).json()["type"].endswith("blob-damaged")
        assert server.client.put("/storage/", content=data).status_code == 200
        require_same(server, {reference: data})


def test_a_damaged_backup_is_found_and_mended_by_the_next(data_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    with serving(data_dir) as server:
        server.put(photo(1))
    backup(data_dir, target)
    (file,) = blob_files(target / "blobs")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert "damaged" in command(data_dir, "backups", "verify", target, code=1).stdout
    assert backup(data_dir, target)["copied"] == 1
    command(data_dir, "backups", "verify", target)
    (snapshot, _) = (target / "snapshots").iterdir()
    snapshot.write_bytes(gzip.compress(b"{}"))
    id = snapshot.name.partition(".")[0]
    assert "damaged" in command(tmp_path / "new", "restore", target, "--backup", id, code=1).stderr


def test_what_can_not_be_read_now_stays_in_the_backup(data_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    with serving(data_dir) as server:
        server.put(photo(1))
    backup(data_dir, target)
    (file,) = blob_files(target / "blobs")
    file.chmod(0)
    said = command(data_dir, "backups", "verify", target, code=1, wrapper=ORDINARY).stdout
    assert "unreadable" in said
    file.chmod(0o600)
    command(data_dir, "backups", "verify", target)


@pytest.mark.skipif(not can_mount(), reason="this user may not mount")
def test_what_can_only_be_read_is_verified_and_restored(data_dir: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    with serving(data_dir) as server:
        images = {server.put(photo(1)): photo(1)}
    backup(data_dir, target)
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    read_only = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, target]
    for words in (["backups", "verify"], ["restore"]):
        command(elsewhere, *words, target, wrapper=read_only)
    with serving(elsewhere) as server:
        require_same(server, images)


def test_a_deployment_is_no_target(data_dir: Path, tmp_path: Path) -> None:
    with serving(data_dir) as server:
        server.put(photo(1))
    assert "is inside the data folder" in command(data_dir, "backup", data_dir, code=1).stderr
    other = shutil.copytree(data_dir, tmp_path / "other")
    assert "not empty" in command(data_dir, "backup", other, code=1).stderr
    (other / "manifests").mkdir()
    assert "originals of a deployment" in command(data_dir, "backup", other, code=1).stderr


def test_old_backups_go_with_what_only_they_name(data_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    with serving(data_dir, orphan_grace_seconds=1, sweep_seconds=1) as server:
        gone, kept = server.put(photo(1)), server.put(photo(2))
        backup(data_dir, target)
        server.client.delete(f"/storage/{gone}?permanently=true").raise_for_status()
        assert backup(data_dir, target, "--keep-last", 2)["pruned"] == 0
        assert len(blob_files(target / "blobs")) == 2
        assert backup(data_dir, target, "--keep-last", 1)["pruned"] == 2
    assert [path.read_bytes() for path in blob_files(target / "blobs")] == [photo(2)]
    command(tmp_path / "new", "restore", target)
    with serving(tmp_path / "new") as server:
        require_same(server, {kept: photo(2)})


def test_a_backup_of_another_deployment_neither_joins_nor_removes_those_that_are_there(
    data_dir: Path, tmp_path: Path
) -> None:
    target, other = tmp_path / "target", tmp_path / "other"
    for folder in (data_dir, other):
        with serving(folder) as server:
            server.put(photo(1))
    kept = backup(data_dir, target)
    done = command(other, "backup", target, "--keep-last", 1, code=1)
    assert "another deployment" in done.stderr
    assert backup(other, target, "--take-over", "--keep-last", 1)["pruned"] == 0
    assert backup(other, target, "--keep-last", 1)["pruned"] == 1
    command(data_dir, "backups", "verify", target, "--backup", kept["id"])
    missing = command(tmp_path / "unmounted", "backup", target, "--keep-last", 1, code=1)
    assert "no deployment here" in missing.stderr


def test_a_clock_that_is_ahead_removes_no_backup_and_the_newest_stays_the_newest(
    data_dir: Path, tmp_path: Path
) -> None:
    target, ahead = tmp_path / "target", tmp_path / "ahead"
    clock = {"PYTHONPATH": str(Path(__file__).with_name("clock")), "TEST_CLOCK": str(ahead)}
    with serving(data_dir) as server:
        server.put(photo(1))
        first = backup(data_dir, target)
        ahead.write_text(str(60 * 86400))
        words = [PROGIMAGE, "backup", str(target), "--keep-days", "30", "--json"]
        done = subprocess.run(words, env=environment_of(data_dir) | clock, capture_output=True, text=True, timeout=60)
        assert json.loads(done.stdout)["pruned"] == 0
        assert "Not removing earlier backups" in done.stderr
        server.put(photo(2))
        newest = backup(data_dir, target)
    listed = command(data_dir, "backups", "list", target, "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in listed][::2] == [newest["id"], first["id"]]


def test_a_backup_does_not_go_into_what_it_is_of(data_dir: Path) -> None:
    with serving(data_dir) as server:
        server.put(photo(1))
    done = command(data_dir, "backup", data_dir / "spool" / "backup", code=1)
    assert "is inside the data folder" in done.stderr


def test_two_backups_do_not_write_to_one_target(data_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    with serving(data_dir) as server:
        server.put(photo(1))
    backup(data_dir, target)
    with subprocess.Popen(["flock", target / "lock", "cat"], stdin=subprocess.PIPE) as holder:
        eventually(lambda: subprocess.run(["flock", "-n", target / "lock", "true"]).returncode)
        assert "Another backup" in command(data_dir, "backup", target, code=1).stderr
        holder.communicate()


def test_a_backup_that_can_not_be_written_says_so_and_goes_on(data_dir: Path, tmp_path: Path) -> None:
    with serving(data_dir) as server:
        server.put(photo(1))
        server.put(heavy())
    limited(data_dir, 1200, "backup", tmp_path / "target")
    assert backup(data_dir, tmp_path / "target")["images"] == 2


def limited(data_dir: Path, kibibytes: int, *arguments: object) -> None:
    """Run a command that may not write larger files, and therefore fails."""
    words = " ".join(map(str, [PROGIMAGE, *arguments]))
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {kibibytes}; trap '' XFSZ; exec {words}"],
        env=environment_of(data_dir), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "Run the command again" in done.stderr


def test_check_finds_each_kind_of_fault_and_repairs_what_can_be(data_dir: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    settings: dict[str, Any] = {"orphan_grace_seconds": 1}
    with serving(data_dir, second_blobs_url=second.as_uri()) as server:
        lost, stepped = server.put(photo(1)), server.put(large(1))
        adopted = photo(7)
        server.put(adopted)
        assert server.get(f"{lost}.webp").status_code == 200
    blobs = {path.name: path for path in blob_files(data_dir / "blobs")}
    names = {data: hashlib.sha256(data).hexdigest() for data in (photo(1), large(1), adopted)}
    for path in blobs.values():
        copy = second / path.relative_to(data_dir / "blobs")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    assert faults(data_dir, "--deep", code=0) == []

    blobs[names[photo(1)]].unlink()
    steps = [name for name in blobs if name.startswith(f"{names[large(1)]}-")]
    blobs[steps[0]].unlink()
    orphan = blobs[names[photo(1)]].with_name(f"{names[photo(1)]}-512")
    orphan.write_bytes(b"orphan")
    cached = data_dir / "renditions" / "ab" / ("ab" * 32)
    cached.mkdir(parents=True)
    (cached / "0123456789abcdef-x").write_bytes(b"orphan")
    tampered = (
        f"DELETE FROM images WHERE sha256 = '{names[adopted]}'; DELETE FROM blobs WHERE sha256 = '{names[adopted]}';"
        "UPDATE owners SET images = 99; UPDATE totals SET bytes = bytes + 5 WHERE slot = 0"
    )
    assert subprocess.run(["python3", "-c", _TAMPER, data_dir / "progimage.sqlite", tampered]).returncode == 0
    eventually(lambda: time.time() - orphan.stat().st_mtime > 2)
    expected = {
        ("missing-original", names[photo(1)]),
        ("missing-ladder", names[large(1)]),
        ("orphaned-ladder", orphan.name),
        ("unknown-original", names[adopted]),
        ("orphaned-renditions", "ab" * 32),
        ("count", "total of bytes"),
        ("count", "totals of owners"),
    }
    assert {fault[:2] for fault in faults(data_dir, **settings)} == expected
    with serving(data_dir, second_blobs_url=second.as_uri()) as server:
        told = {"second_blobs_url": second.as_uri(), **settings}
        found = faults(data_dir, "--repair", "--adopt", "recovered", code=0, **told)
        assert {fault[:2] for fault in found} == expected
        assert {fault[0] for fault in found if not fault[2]} == {"unknown-original"}
        require_same(server, {lost: photo(1), stepped: large(1)})
        with server.as_owner("recovered") as recovered:
            (image,) = recovered.get("/storage/").json()["images"]
            assert recovered.get(f"/storage/{image['reference']}").content == adopted
    assert faults(data_dir, "--deep", code=0, **settings) == []


_TAMPER = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as database:
    database.executescript(sys.argv[2])
"""


def test_check_finds_rotten_bits_when_it_reads_all(data_dir: Path) -> None:
    with serving(data_dir) as server:
        reference = server.put(photo(1))
    (file,) = blob_files(data_dir / "blobs")
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    assert faults(data_dir, code=0) == []
    assert [fault[0] for fault in faults(data_dir, "--deep")] == ["damaged-original"]
    assert [fault[::2] for fault in faults(data_dir, "--deep", "--repair")] == [("damaged-original", False)]
    assert [fault[0] for fault in faults(data_dir)] == ["damaged-original"]
    with serving(data_dir) as server:
        assert server.get(reference).status_code == 503
        assert httpx.put(f"{server.url}/storage/", content=photo(1)).status_code == 200
    assert faults(data_dir, "--deep", code=0) == []
