"""A database and a store that don't belong together are no service: it refuses to start, or to serve."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests import pictures
from tests.integration.server import PROGIMAGE, Server, eventually, serving
from tests.servers import ORDINARY, can_mount, free_port, in_small_file_system


def png(size: tuple[int, int] = (30, 20)) -> bytes:
    return pictures.saved(pictures.colour(size), "PNG")


def refusal(data_dir: Path, *command: str, **settings: str) -> str:
    """What is said by a service that does not start."""
    done = subprocess.run(
        [PROGIMAGE, *(command or ("serve", "--port", str(free_port())))],
        env=dict(os.environ) | {"PROGIMAGE_DATA_DIR": str(data_dir)} | settings,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def filled(data_dir: Path) -> str:
    with serving(data_dir) as server:
        return server.put(png())


def without_markers(data_dir: Path) -> None:
    (data_dir / "blobs" / "deployment").unlink()
    with contextlib.closing(sqlite3.connect(data_dir / "progimage.sqlite")) as database:
        database.execute("DELETE FROM deployment")
        database.commit()


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def is_refused(server: Server, path: str) -> bool:
    answer = server.client.get(path)
    return answer.status_code == 503 and answer.headers.get("content-type") == "application/problem+json"


def test_an_empty_store_beside_a_database_with_images_is_refused(data_dir: Path) -> None:
    filled(data_dir)
    emptied(data_dir / "blobs")
    assert "none of them" in refusal(data_dir)
    assert "none of them" in refusal(data_dir, "scrub")


def test_an_empty_database_beside_blobs_is_refused_until_it_is_adopted(data_dir: Path) -> None:
    filled(data_dir)
    for file in data_dir.glob("progimage.sqlite*"):
        file.unlink()
    assert "database is empty" in refusal(data_dir)
    subprocess.run(
        [PROGIMAGE, "adopt"], env=dict(os.environ) | {"PROGIMAGE_DATA_DIR": str(data_dir)}, check=True, timeout=30
    )
    with serving(data_dir) as server:
        assert server.put(png())


def test_halves_of_two_deployments_are_refused(data_dir: Path, tmp_path: Path) -> None:
    filled(data_dir)
    filled(tmp_path / "other")
    emptied(data_dir / "blobs")
    shutil.copytree(tmp_path / "other" / "blobs", data_dir / "blobs", dirs_exist_ok=True)
    assert "different deployment" in refusal(data_dir)


@pytest.mark.parametrize("has_images", [True, False])
def test_a_deployment_of_before_markers_is_adopted(data_dir: Path, has_images: bool) -> None:
    if has_images:
        reference = filled(data_dir)
    else:
        with serving(data_dir):
            pass
    without_markers(data_dir)
    with serving(data_dir) as server:
        assert (data_dir / "blobs" / "deployment").read_text()
        assert not has_images or server.get(reference).status_code == 200


def test_a_new_data_folder_is_refused_if_the_deployment_is_named(data_dir: Path) -> None:
    assert "PROGIMAGE_DEPLOYMENT" in refusal(data_dir, PROGIMAGE_DEPLOYMENT="12345678")


def test_a_store_that_goes_while_running_is_refused_until_it_is_back(data_dir: Path) -> None:
    with serving(data_dir) as server:
        reference = server.put(png())
        blobs, away = data_dir / "blobs", data_dir / "away"
        blobs.rename(away)
        blobs.mkdir()
        assert is_refused(server, "/readyz")
        assert is_refused(server, f"/storage/{reference}")
        assert is_refused(server, f"/storage/{reference}.webp?width=3")
        answer = server.client.put("/storage/", files={"data": ("a", png((13, 15)))})
        assert answer.status_code == 503 and answer.json()["type"].endswith("wrong-store")
        blobs.rmdir()  # nothing was made in it
        away.rename(blobs)
        assert server.client.get("/readyz").status_code == 200
        assert server.get(reference).status_code == 200
        assert server.put(png((13, 15)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_volume_that_is_unmounted_is_refused_until_it_is_mounted_again(data_dir: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    data_dir.mkdir()
    subprocess.run(["mount", "--bind", disk, data_dir], check=True)
    try:
        with serving(data_dir) as server:
            reference = server.put(png())
            subprocess.run(["umount", "-l", data_dir], check=True)
            assert is_refused(server, "/readyz")
            assert is_refused(server, f"/storage/{reference}.webp?width=3")
            assert server.client.put("/storage/", content=png((13, 15))).status_code == 503
            subprocess.run(["mount", "--bind", disk, data_dir], check=True)
            eventually(lambda: server.client.get("/readyz").status_code == 200)
            assert server.get(f"{reference}.webp?width=3").status_code == 200
    finally:
        subprocess.run(["umount", "-l", data_dir], check=False)


def test_a_database_file_that_is_removed_while_running_is_refused_until_it_is_back(data_dir: Path) -> None:
    with serving(data_dir) as server:
        reference = server.put(png())
        file = data_dir / "progimage.sqlite"
        file.rename(data_dir / "away")
        assert is_refused(server, "/readyz")
        assert is_refused(server, f"/storage/{reference}?info=1") or is_refused(server, f"/storage/{reference}.info")
        (data_dir / "away").rename(file)
        assert server.client.get("/readyz").status_code == 200


@pytest.mark.parametrize("command", ["check", "scrub", "backup /tmp/none", "export", "keys list", "jobs list", "audit"])
def test_a_command_for_a_deployment_that_is_not_there_says_so_and_makes_none(tmp_path: Path, command: str) -> None:
    environment = os.environ | {"PROGIMAGE_DATA_DIR": str(tmp_path / "data")}
    where = [str(tmp_path / "out")] if command == "export" else []
    done = subprocess.run(
        [PROGIMAGE, *command.split(), *where], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "There is no deployment here yet" in done.stderr
    assert not list(tmp_path.rglob("*.sqlite"))
    subprocess.run([PROGIMAGE, "doctor"], env=environment, capture_output=True, timeout=60)
    again = subprocess.run([PROGIMAGE, "check"], env=environment, capture_output=True, text=True, timeout=60)
    assert "There is no deployment here yet" in again.stderr


def test_the_doctor_finds_a_database_without_its_store(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        server.put(pictures.saved(pictures.colour(), "PNG"))
    shutil.rmtree(tmp_path / "data" / "blobs")
    environment = os.environ | {"PROGIMAGE_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run([PROGIMAGE, "doctor"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "error    deployment" in done.stdout


def test_a_database_that_can_only_be_read_is_refused_in_a_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data):
        pass
    (data / "progimage.sqlite").chmod(0o444)
    words: list[str | Path] = [*ORDINARY, PROGIMAGE, "serve", "--port", str(free_port()), "--data-dir", data]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The database is unavailable: attempt to write a readonly database")


@pytest.mark.skipif(not can_mount(), reason="this user may not mount a small file system")
def test_originals_on_another_file_system_are_refused_in_a_line(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    serve: list[str | Path] = [PROGIMAGE, "serve", "--port", str(free_port()), "--data-dir", tmp_path / "data"]
    words = in_small_file_system(blobs, 32 << 20, serve)
    environment = os.environ | {"PROGIMAGE_BLOBS_URL": blobs.as_uri()}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "on different file systems" in done.stderr
