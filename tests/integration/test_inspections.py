"""What was found out of an image by older rules is found out anew: when it is first used, and in the background."""

import json
import sqlite3
from pathlib import Path

import pytest

from progimage.engine import INSPECTION_VERSION
from tests import pictures
from tests.integration.server import eventually, serving

SIZE = (2400, 1600)


def aged(data_dir: Path, reference: str) -> None:
    """Make of what is known of an image what an older version could have known."""
    with sqlite3.connect(data_dir / "progimage.sqlite") as database:
        (sha256,) = database.execute("select sha256 from images where reference = ?", [reference]).fetchone()
        (info, ladder) = database.execute("select info, ladder from blobs where sha256 = ?", [sha256]).fetchone()
        old = json.loads(info) | {"orientation": 1}
        for name in ("upright_width", "upright_height", "coded_width", "coded_height", "warnings", "inspection"):
            del old[name]
        wrong = json.loads(ladder) | {"width": SIZE[1], "height": SIZE[0], "turned": False}
        database.execute(
            "update blobs set info = ?, ladder = ?, inspection = 0 where sha256 = ?",
            [json.dumps(old), json.dumps(wrong), sha256],
        )


def version(data_dir: Path, reference: str) -> int:
    with sqlite3.connect(data_dir / "progimage.sqlite") as database:
        query = "select inspection from blobs join images using (sha256) where reference = ?"
        return int(database.execute(query, [reference]).fetchone()[0])


@pytest.fixture
def old_image(tmp_path: Path) -> tuple[Path, str]:
    """A folder with an image in it, sideways by its EXIF, of which an older version did not know that."""
    with serving(tmp_path / "data") as server:
        reference = server.put(pictures.oriented(6, SIZE))
    aged(tmp_path / "data", reference)
    return tmp_path / "data", reference


@pytest.mark.parametrize("first", ["info", "rendition"])
def test_it_is_described_anew_when_it_is_first_used(old_image: tuple[Path, str], first: str) -> None:
    data_dir, reference = old_image
    with serving(data_dir, sweep_seconds=3600) as server:
        if first == "rendition":
            made = pictures.open_bytes(server.get(f"{reference}.png?width=300").content)
            assert made.size == (300, 200)
        info = server.get(f"{reference}/info").json()
        assert info["orientation"] == 6 and (info["upright_width"], info["upright_height"]) == SIZE
        assert version(data_dir, reference) == INSPECTION_VERSION
        assert pictures.open_bytes(server.get(f"{reference}.png?width=150").content).size == (150, 100)


def test_it_is_described_anew_in_the_background(old_image: tuple[Path, str]) -> None:
    data_dir, reference = old_image
    with serving(data_dir, sweep_seconds=1):
        eventually(lambda: version(data_dir, reference) == INSPECTION_VERSION)


def test_one_that_can_not_be_described_stays_as_it_is(old_image: tuple[Path, str]) -> None:
    data_dir, reference = old_image
    with serving(data_dir, max_pixels=1000, sweep_seconds=3600) as server:
        assert server.get(f"{reference}/info").json()["orientation"] == 1
        assert server.get(reference).status_code == 200
        assert version(data_dir, reference) == INSPECTION_VERSION


def test_another_upload_of_its_bytes_describes_it_anew(old_image: tuple[Path, str]) -> None:
    data_dir, _ = old_image
    with serving(data_dir, sweep_seconds=3600) as server:
        info = server.get(f"{server.put(pictures.oriented(6, SIZE))}/info").json()
        assert info["orientation"] == 6
