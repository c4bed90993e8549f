"""Clocks that are wrong: nothing is expired or purged early, and nobody's images are hidden."""

import json
import os
import sqlite3
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests import pictures
from tests.integration.server import PROGIMAGE, Server, eventually, serving
from tests.servers import Postgres, S3Server

PNG = pictures.BY_MODE["RGB"]()
CLOCK = Path(__file__).parent / "clock"
MONTH = 30 * 86400
_QUICK: dict[str, Any] = {"sweep_seconds": 1, "orphan_grace_seconds": 1}


@pytest.fixture
def ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that says how far the clock is ahead of servers that have CLOCK as their python_path."""
    file = tmp_path / "ahead"
    monkeypatch.setenv("TEST_CLOCK", str(file))
    return file


def sweeps(server: Server) -> set[str]:
    """The ids of those that are over."""
    listed = server.command("jobs", "list", "--kind", "sweep", "--state", "done", "--json").splitlines()
    return {json.loads(line)["id"] for line in listed}


def wait_for_sweeps(server: Server, count: int = 3) -> None:
    before = sweeps(server)
    eventually(lambda: len(sweeps(server) - before) >= count)


def test_a_node_a_month_ahead_neither_destroys_nor_hides(
    database: Postgres, s3: S3Server, ahead: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = (
        s3.settings("clock") | {"database_url": database.new_database(), "shared_renditions": False} | _QUICK
    )
    with serving(tmp_path / "right", **settings | {"jobs": 0}) as right:
        lasting = right.client.put("/storage/", content=PNG, params={"expires": "7d"}).text
        deleted = right.put(PNG)
        right.client.delete(f"/storage/{deleted}")
        ahead.write_text(str(MONTH))
        with serving(tmp_path / "wrong", python_path=CLOCK, **settings) as wrong:  # it does all sweeps
            wait_for_sweeps(wrong)
            for node in (right, wrong):
                assert node.get(lasting).content == PNG
            late = wrong.put(PNG)
            uploaded = datetime.fromisoformat(right.get(f"{late}/info").json()["uploaded_at"])
            assert abs((uploaded - datetime.now(UTC)).total_seconds()) < 60
            wrong.client.delete(f"/storage/{late}")
            wait_for_sweeps(wrong)
            for reference in (deleted, late):
                assert right.client.post(f"/storage/{reference}/undelete").status_code == 200
                assert right.get(reference).content == PNG


def test_a_clock_that_is_set_while_it_runs_stops_sweeps_until_an_operator_says_go_on(
    data_dir: Path, ahead: Path
) -> None:
    with serving(data_dir, python_path=CLOCK, undelete_seconds=1, **_QUICK) as server:
        lasting = server.client.put("/storage/", content=PNG, params={"expires": "7d"}).text
        wait_for_sweeps(server, 1)
        ahead.write_text(str(MONTH))
        eventually(lambda: 'progimage_sweeps_stopped{reason="jump"} 1.0' in server.client.get("/metrics").text)
        assert server.get(lasting).content == PNG
        deleted = server.put(PNG)
        server.client.delete(f"/storage/{deleted}")
        wait_for_sweeps(server)
        assert server.get(lasting).content == PNG
        assert server.client.post(f"/storage/{deleted}/undelete").status_code == 200
        assert "sweeps resume" in server.log()
        assert "sweeps resume" in doctor(server)["detail"]
        server.command("sweeps", "resume")
        eventually(lambda: server.get(lasting).status_code == 404)  # it was said that this is the time


def test_a_clock_that_was_set_back_and_goes_ahead_then_stops_sweeps_too(data_dir: Path, ahead: Path) -> None:
    with serving(data_dir, python_path=CLOCK, **_QUICK) as server:
        lasting = server.client.put("/storage/", content=PNG, params={"expires": "7d"}).text
        wait_for_sweeps(server, 1)
        ahead.write_text("-3600")
        eventually(lambda: 'progimage_sweeps_stopped{reason="start"} 1.0' in server.client.get("/metrics").text)
        ahead.write_text(str(MONTH))
        eventually(lambda: 'progimage_sweeps_stopped{reason="jump"} 1.0' in server.client.get("/metrics").text)
        assert server.get(lasting).content == PNG


def test_sweeps_wait_after_a_restore_whose_clock_is_not_near_its_newest_image(
    data_dir: Path, ahead: Path, tmp_path: Path
) -> None:
    with serving(data_dir) as server:
        server.client.put("/storage/", content=PNG, params={"expires": "7d"})
        server.command("backup", str(tmp_path / "target"))
    elsewhere = {"PROGIMAGE_DATA_DIR": str(tmp_path / "elsewhere")}
    subprocess.run([PROGIMAGE, "restore", tmp_path / "target"], env=os.environ | elsewhere, check=True, timeout=60)
    ahead.write_text(str(MONTH))
    with serving(tmp_path / "elsewhere", python_path=CLOCK, **_QUICK) as server:
        assert 'progimage_sweeps_stopped{reason="start"} 1.0' in server.client.get("/metrics").text


def test_a_clock_that_is_set_and_set_back_needs_nobody(data_dir: Path, ahead: Path) -> None:
    with serving(data_dir, python_path=CLOCK, **_QUICK) as server:
        ahead.write_text(str(MONTH))
        eventually(lambda: 'progimage_sweeps_stopped{reason="jump"} 1.0' in server.client.get("/metrics").text)
        ahead.unlink()
        eventually(lambda: 'progimage_sweeps_stopped{reason="jump"} 0.0' in server.client.get("/metrics").text)
        assert doctor(server)["verdict"] == "ok"


def test_a_jump_that_stopped_sweeps_stops_them_after_a_restart_too(data_dir: Path, ahead: Path) -> None:
    with serving(data_dir, python_path=CLOCK, **_QUICK) as server:
        lasting = server.client.put("/storage/", content=PNG, params={"expires": "7d"}).text
        wait_for_sweeps(server, 1)
    ahead.write_text(str(MONTH))  # while it was down, but this machine was not
    for _ in range(2):
        with serving(data_dir, python_path=CLOCK, **_QUICK) as server:
            eventually(lambda: sweeps(server))
            assert server.get(lasting).content == PNG
            assert doctor(server)["verdict"] == "error"


def test_after_a_long_shutdown_sweeps_wait_for_an_undelete_time(data_dir: Path, ahead: Path) -> None:
    """What looks like a machine that was off for a month: another start of it, and a later time."""
    settings: dict[str, Any] = {"undelete_seconds": 5, **_QUICK}
    with serving(data_dir, python_path=CLOCK, **settings) as server:
        lasting = server.client.put("/storage/", content=PNG, params={"expires": "7d"}).text
        wait_for_sweeps(server, 1)
    other_boot(data_dir)
    ahead.write_text(str(MONTH))
    began = time.monotonic()
    with serving(data_dir, python_path=CLOCK, **settings) as server:
        assert 'progimage_sweeps_stopped{reason="start"} 1.0' in server.client.get("/metrics").text
        assert server.get(lasting).status_code == 404  # it is over, by the only time there is
        eventually(lambda: 'progimage_sweeps_stopped{reason="start"} 0.0' in server.client.get("/metrics").text)
        assert time.monotonic() - began > 5
        # Deleted only now, so that it can be brought back for an undelete time from now on.
        eventually(lambda: server.client.get("/storage/", params={"deleted": True}).json()["images"])
        assert server.client.post(f"/storage/{lasting}/undelete").status_code == 200


def other_boot(data_dir: Path) -> None:
    with sqlite3.connect(data_dir / "progimage.sqlite") as connection:
        connection.execute("UPDATE clock SET boot_id = 'another start'")


def doctor(server: Server) -> dict:
    environment = server.environment | {"PROGIMAGE_DATA_DIR": str(server.data_dir)}
    done = subprocess.run([PROGIMAGE, "doctor", "--json"], env=environment, capture_output=True, text=True, timeout=60)
    return next(found for found in map(json.loads, done.stdout.splitlines()) if found["what"] == "sweeps")
