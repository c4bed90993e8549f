"""What processes of a node tell one another."""

from pathlib import Path

import pytest

from progimage.storage import Changes


def test_what_one_process_marks_the_others_see(tmp_path: Path) -> None:
    one, other = Changes(tmp_path / "changes"), Changes(tmp_path / "changes")
    before = other.state("a"), other.state("b")
    one.mark("a")
    assert other.state("a") != before[0] and other.state("b") == before[1]


@pytest.mark.parametrize("size", [0, 7, 32768])
def test_a_file_has_all_its_room_on_the_disk(tmp_path: Path, size: int) -> None:
    """A hole in it would end the process when the disk is full; a version before left one."""
    path = tmp_path / "changes"
    with path.open("wb") as file:
        file.truncate(size)
    Changes(path).close()
    assert path.stat().st_size == 32768 and path.stat().st_blocks * 512 >= 32768
