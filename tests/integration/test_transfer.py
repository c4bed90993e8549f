"""Export and import: what goes out comes in again as it was, and what others keep can be taken in."""

import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import pictures
from tests.blobs import blob_files
from tests.integration.server import PROGIMAGE, Server, eventually, serving
from tests.servers import ORDINARY, S3Server


def photo(seed: int) -> bytes:
    return pictures.saved(pictures.colour((60 + seed, 40)), "JPEG")


def folder_of(path: Path, count: int) -> dict[str, bytes]:
    """Fill a folder with photographs, and return them by their paths in it."""
    files = {f"{seed % 3}/{seed}.jpg": photo(seed) for seed in range(count)}
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return files


def command(
    data_dir: Path, *arguments: object, wrapper: Sequence[str] = (), **settings: str
) -> subprocess.CompletedProcess:
    """Run a command of a deployment, perhaps by another one."""
    environment = os.environ | settings | {"PROGIMAGE_DATA_DIR": str(data_dir)}
    words = [*wrapper, PROGIMAGE, *map(str, arguments)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)


def imported(data_dir: Path, *arguments: object, code: int = 0, **settings: Any) -> dict[str, int]:
    """Import something, and return how many files had which outcome."""
    done = command(data_dir, "import", "--json", *arguments, **settings)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return {name: count for name, count in json.loads(done.stdout).items() if count}


def killed(data_dir: Path, when: Callable[[], bool], *arguments: object) -> bool:
    """Start a command, and kill it with all its processes when something is true; return whether it was still going."""
    environment = os.environ | {"PROGIMAGE_DATA_DIR": str(data_dir)}
    words = [PROGIMAGE, *map(str, arguments)]
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    eventually(lambda: process.poll() is not None or when())
    alive = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return alive


def rows(data_dir: Path, query: str) -> list[tuple]:
    """Ask the database of a deployment, if it has one by now."""
    path = data_dir / "progimage.sqlite"
    if not path.exists():
        return []
    connection = sqlite3.connect(path, timeout=10)
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError:  # there is no such table yet
        return []
    finally:
        connection.close()


def known(server: Server, *queries: str) -> dict[str, dict]:
    """All that a service says of its images, by their references."""
    with server.as_owner("default", "admin") as client:
        pages = [client.get(f"/storage/?limit=1000{query}").json() for query in queries]
    return {image["reference"]: image for page in pages for image in page["images"]}


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict], dict[str, bytes], Path]:
    """What a service had, the bytes of its images, and its export, which was made while it ran."""
    folder = tmp_path_factory.mktemp("moved")
    names = [
        "photo.jpg",
        "PHOTO.JPG",
        "photo.jpg",
        "..",
        "a/../../etc/passwd",
        "CON",
        "grüße 日本.jpg",
        "x" * 200 + ".jpg",
    ]
    with serving(folder / "data") as server:
        originals = {server.put(photo(seed), name): photo(seed) for seed, name in enumerate(names)}
        said = {"label": ["two", "one"], "visibility": "key", "expires": "30d", "metadata": '{"shelf": "7"}'}
        answer = server.client.put("/storage/", params=said, content=photo(20))
        originals[answer.text] = photo(20)
        held, gone, *_ = originals
        with server.as_owner("default", "admin") as admin:
            assert admin.patch(f"/storage/{held}", json={"held": True}).status_code == 200
        assert server.client.delete(f"/storage/{gone}").status_code == 204
        del originals[gone]
        shop = server.as_owner("shop", "upload", "read").put("/storage/", content=photo(21))
        originals[shop.text] = photo(21)
        broken = pictures.saved(pictures.colour((300, 300)), "JPEG")[:-1500]
        damaged = server.client.put("/storage/?damaged=accept", content=broken)
        assert damaged.status_code == 200, damaged.text
        originals[damaged.text] = broken
        server.command("export", str(folder / "export"))
        return known(server, "", "&owner=shop"), originals, folder / "export"


def test_an_export_has_each_original_under_a_name_that_any_file_system_takes(moved) -> None:
    _, originals, export = moved
    lines = [json.loads(line) for line in (export / "images.ndjson").read_text().splitlines()]
    assert {line["reference"]: (export / line["file"]).read_bytes() for line in lines} == originals
    names = [Path(line["file"]).name for line in lines]
    assert len({name.casefold() for name in names}) == len(lines)
    assert all(len(name.encode()) <= 143 and not set(name) & set('<>:"/\\|?*') for name in names)
    assert sum(path.is_file() for path in export.rglob("*")) == len(lines) + 2
    sums = "".join(f"{line['sha256']}  {line['file']}\n" for line in lines)
    judge = subprocess.run(["sha256sum", "--check", "--quiet"], input=sums, text=True, cwd=export, timeout=30)
    assert judge.returncode == 0


def test_an_export_is_the_same_images_elsewhere(moved, data_dir: Path) -> None:
    before, originals, export = moved
    assert imported(data_dir, export) == {"stored": len(originals)}
    with serving(data_dir) as server:
        assert known(server, "", "&owner=shop") == before
        with server.as_owner("default", "admin") as admin:
            for reference, data in originals.items():
                assert admin.get(f"/storage/{reference}").content == data
    assert imported(data_dir, export) == {"done before": len(originals)}
    assert imported(data_dir, export, "--journal", data_dir / "new.journal") == {"there": len(originals)}


def test_an_export_leaves_out_what_is_not_asked_for(moved, tmp_path: Path) -> None:
    before, _, export = moved
    data_dir, target = export.with_name("data"), tmp_path / "some"
    assert command(data_dir, "export", target, "--owner", "default", "--label", "one").returncode == 0
    (line,) = (target / "images.ndjson").read_text().splitlines()
    assert before[json.loads(line)["reference"]]["labels"] == ["one", "two"]
    other = command(data_dir, "export", target)
    assert other.returncode == 1 and "other filters" in other.stderr
    full = command(data_dir, "export", data_dir)
    assert full.returncode == 1 and "not empty" in full.stderr


@pytest.mark.endurance
def test_an_export_that_is_killed_goes_on(data_dir: Path, tmp_path: Path) -> None:
    files, target = folder_of(tmp_path / "pictures", 90), tmp_path / "export"
    imported(data_dir, tmp_path / "pictures")

    def whole() -> list[Path]:
        return [path for path in target.glob("originals/*/*") if path.suffix == ".jpg"]

    def enough(most: int) -> bool:
        return len(whole()) >= most

    for _ in range(2):
        most = len(whole()) + 20
        killed(data_dir, partial(enough, most), "export", target)
        assert not (target / "images.ndjson").exists() or len(whole()) == len(files)
    done = command(data_dir, "export", target, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["images"] == len(files)
    assert sorted(path.read_bytes() for path in whole()) == sorted(files.values())
    assert not list(target.rglob("*.part"))


def test_an_export_names_what_is_damaged_or_missing(data_dir: Path, tmp_path: Path) -> None:
    files = folder_of(tmp_path / "pictures", 4)
    imported(data_dir, tmp_path / "pictures")
    damaged, missing = blob_files(data_dir / "blobs")[:2]
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    missing.unlink()
    done = command(data_dir, "export", tmp_path / "export", "--json")
    assert done.returncode == 1 and "damaged" in done.stderr and "missing from the store" in done.stderr
    assert json.loads(done.stdout)["images"] == len(files) - 2 == len(list((tmp_path / "export").glob("originals/*/*")))


def test_an_import_that_is_killed_stores_each_image_once(data_dir: Path, tmp_path: Path) -> None:
    files = folder_of(tmp_path / "pictures", 40)

    def stored() -> int:
        return len(rows(data_dir, "SELECT reference FROM images"))

    def enough(most: int) -> bool:
        return stored() >= most

    alive = 0
    for _ in range(2):
        most = stored() + 8
        alive += killed(data_dir, partial(enough, most), "import", tmp_path / "pictures")
    assert alive == 2
    counts = imported(data_dir, tmp_path / "pictures")
    assert counts["done before"] >= 10 and sum(counts.values()) == len(files)
    found = rows(data_dir, "SELECT filename, sha256 FROM images")
    assert sorted(found) == sorted((name, hashlib.sha256(data).hexdigest()) for name, data in files.items())
    assert imported(data_dir, tmp_path / "pictures", "--journal", data_dir / "new.journal") == {"there": len(files)}
    (tmp_path / "pictures" / "0" / "0.jpg").write_bytes(photo(99))
    assert imported(data_dir, tmp_path / "pictures") == {"stored": 1, "done before": len(files) - 1}


def test_files_that_are_no_images_are_reported_and_the_others_stored(data_dir: Path, tmp_path: Path) -> None:
    folder, report = tmp_path / "pictures", tmp_path / "report.ndjson"
    folder_of(folder, 2)
    (folder / "notes.txt").write_text("no picture")
    (folder / "empty.jpg").touch()
    (folder / "cut.jpg").write_bytes(photo(7)[:200])
    (folder / "huge.jpg").write_bytes(photo(8))
    os.truncate(folder / "huge.jpg", 10**9)
    (folder / "link.jpg").symlink_to("0/0.jpg")
    (folder / "loop").symlink_to(".")
    (folder / ".hidden.jpg").write_bytes(photo(9))
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.jpg"))
    Path(os.fsdecode(os.fsencode(folder) + b"/\xe4\xff.jpg")).write_bytes(photo(10))
    counts = imported(data_dir, folder, "--report", report, "--label", "all", code=1)
    assert counts == {"stored": 3, "skipped": 5, "failed": 4}
    lines = {line["file"]: line for line in map(json.loads, report.read_text().splitlines())}
    assert len(lines) == 12 and lines["link.jpg"]["problem"] == "symbolic link"
    assert "supported image format" in lines["notes.txt"]["problem"] and "larger than" in lines["huge.jpg"]["problem"]
    names = rows(data_dir, "SELECT filename FROM images JOIN labels USING (reference) WHERE label = 'all'")
    assert {name for (name,) in names} == {"0/0.jpg", "1/1.jpg", "\ufffd\ufffd.jpg"}
    assert len(rows(data_dir, "SELECT * FROM audit WHERE action = 'upload'")) == 3


def test_a_file_that_must_not_be_read_is_reported(data_dir: Path, tmp_path: Path) -> None:
    folder_of(tmp_path / "pictures", 3)
    (tmp_path / "pictures" / "0" / "0.jpg").chmod(0)
    (tmp_path / "pictures" / "1").chmod(0)
    assert imported(data_dir, tmp_path / "pictures", code=1, wrapper=ORDINARY) == {"stored": 1, "failed": 2}
    (tmp_path / "pictures" / "1").chmod(0o700)


def test_an_import_keeps_to_quotas_and_goes_on_beside_a_service(data_dir: Path, tmp_path: Path) -> None:
    folder_of(tmp_path / "pictures", 5)
    with serving(data_dir) as server:
        server.command("owners", "set", "shop", "--max-images", "3")
        counts = imported(data_dir, tmp_path / "pictures", "--owner", "shop", code=1)
        assert counts == {"stored": 3, "failed": 2}
        for reference, image in known(server, "&owner=shop").items():
            assert server.get(f"{reference}.webp?width=20").status_code == 200
            assert image["filename"][1] == "/"


def test_lines_that_cannot_be_taken_in_are_reported(moved, tmp_path: Path) -> None:
    _, originals, export = moved
    data_dir, other, changed = export.with_name("data"), photo(50), tmp_path / "changed"
    changed.mkdir()
    (changed / "export.json").write_bytes((export / "export.json").read_bytes())
    lines = map(json.loads, (export / "images.ndjson").read_text().splitlines())
    line = next(line for line in lines if line["reference"] in originals)
    line |= {"bytes": len(other), "sha256": hashlib.sha256(other).hexdigest()}
    over = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    ((gone, sha256),) = rows(data_dir, "SELECT reference, sha256 FROM images WHERE deleted_at IS NOT NULL")
    deleted = {"reference": gone, "sha256": sha256}
    new = "5f1c1f0e-0000-4000-8000-00000000000"
    wrong = [
        line,
        {**line, "reference": f"{new}1", "sha256": "0" * 64},
        {**line, "reference": f"{new}2", "expires_at": over, "held": False},
        {**line, "reference": "../../etc"},
        {**line, "reference": f"{new}3", "owner": "no one"},
        {**line, "reference": f"{new}4"},
        {**line, **deleted},
    ]
    text = ""
    for number, one in enumerate(wrong):
        one["file"] = f"{number}.jpg"
        (changed / one["file"]).write_bytes(other)
        text += json.dumps(one) + "\n"
    (changed / "5.jpg").unlink()
    text += json.dumps({**line, "reference": f"{new}5", "file": "../a.jpg"}) + "\n{\n"
    (changed / "images.ndjson").write_text(text)
    report = tmp_path / "report"
    assert imported(data_dir, changed, "--report", report, code=1) == {"skipped": 1, "failed": 8}
    problems = {line["file"]: line["problem"] for line in map(json.loads, report.read_text().splitlines())}
    assert "already has this reference" in problems["0.jpg"] and "SHA-256" in problems["1.jpg"]
    assert "expired" in problems["2.jpg"] and "UUID" in problems["images.ndjson:4"]
    assert "path below" in problems["images.ndjson:8"] and "deleted here" in problems["6.jpg"]


def test_a_bucket_is_taken_in(data_dir: Path, tmp_path: Path, s3: S3Server) -> None:
    bucket = "others"
    options = json.loads(s3.settings(bucket)["blobs_options"])
    files = {f"shop/{name}": data for name, data in folder_of(tmp_path / "pictures", 5).items()}
    for name, data in files.items():
        path = s3._root / bucket / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (s3._root / bucket / "elsewhere.jpg").write_bytes(photo(30))
    (s3._root / bucket / "shop" / "notes.txt").write_text("no picture")
    secrets = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "tester-secret"}
    told = [f"--option={name}={options[name]}" for name in ("endpoint", "region")]
    assert imported(data_dir, f"s3://{bucket}/shop", *told, code=1, **secrets) == {"stored": 5, "failed": 1}
    names = {name for (name,) in rows(data_dir, "SELECT filename FROM images")}
    assert names == {name.removeprefix("shop/") for name in files}
    again = imported(data_dir, f"s3://{bucket}/shop", *told, code=1, **secrets)
    assert again == {"failed": 1, "done before": 5}


def test_thumbors_storage_is_taken_in_with_its_urls(data_dir: Path, tmp_path: Path) -> None:
    """What thumbor 7.8 hashes for an image of its own URL, and the URL that is listed for it."""
    hashed = {
        "http%3A//example.org/cats/1.jpg": "http://example.org/cats/1.jpg",
        "example.org/a%20b.jpg": "http://example.org/a%20b.jpg",
        "https%3A//example.org/gr%C3%BC%C3%9Fe.jpg%3Fsize%3Dlarge": "https://example.org/grüße.jpg?size=large",
        "http%3A//example.org/twice%2520encoded.jpg": "http://example.org/twice%20encoded.jpg",
        "f5a1d3f4e1b84b0f8f8c0f3f6b1d2c3e": "f5a1d3f4e1b84b0f8f8c0f3f6b1d2c3e",
        "nobody knows": None,
    }
    for seed, text in enumerate(hashed):
        digest = hashlib.sha1(text.encode()).hexdigest()
        path = tmp_path / "storage" / digest[:2] / digest[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(seed))
        path.with_name(f"{path.name}.detectors.txt").write_text("[]")
        path.with_name(f"{path.name}.txt").write_text("a key")
    listed, report = tmp_path / "urls.txt", tmp_path / "report.ndjson"
    listed.write_text("\n".join([*filter(None, hashed.values()), "http://example.org/never.jpg"]))
    storage = (tmp_path / "storage", "--from", "thumbor")
    assert imported(data_dir, *storage, "--urls", listed, "--report", report) == {"stored": 6, "skipped": 12}
    found = rows(data_dir, "SELECT reference, filename, metadata FROM images")
    urls = {reference: json.loads(said)["url"] if said else None for reference, _, said in found}
    assert sorted(map(str, urls.values())) == sorted(map(str, hashed.values()))
    assert ("example.org/grüße.jpg",) in {(name,) for _, name, _ in found}
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert {line["reference"]: line.get("url") for line in lines if "reference" in line} == urls
