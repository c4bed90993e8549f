"""The names of files in an export."""

from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath

from hypothesis import example, given
from hypothesis import strategies as st

from progimage.engine import ImageInfo
from progimage.storage import Blob, Record
from progimage.transfer.export_format import file_of

REFERENCE = "7d0a2c1e-4b7f-4f0e-9a53-1c6b8e2d5f90"
INFO = ImageInfo("JPEG", "image/jpeg", 1, 1, 1, False, 0, "RGB", 8, False, None, 1)


def named(filename: str | None) -> str:
    return file_of(Record(REFERENCE, Blob("0" * 64, 1, INFO), filename, datetime.now(UTC)))


def test_a_file_is_called_by_its_reference_and_its_name() -> None:
    assert named("photo.JPG") == f"originals/7d0/{REFERENCE}-photo.JPG"
    assert named(None) == named("..") == f"originals/7d0/{REFERENCE}.jpg"
    assert named("2027/holiday: day 1?.jpeg").endswith("-holiday_ day 1_.jpeg")
    assert named("é" * 300 + ".jpeg").endswith("é.jpeg")
    assert named("e\N{COMBINING ACUTE ACCENT}.png") == named("é.png")


@given(st.text(max_size=400))
@example("../../etc/passwd")
@example("..\\..\\boot.ini")
@example("CON")
@example("a." + "b" * 300)
@example("trailing. . .")
@example("zero\0newline\n\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe")
@example("\N{GRINNING FACE}" * 100)
def test_every_file_system_takes_the_name(filename: str) -> None:
    path = PurePosixPath(named(filename))
    assert path.parts[:2] == ("originals", "7d0") and len(path.parts) == 3 and path.name.startswith(REFERENCE)
    assert PureWindowsPath(str(path)).parts == path.parts
    assert not set(path.name) & set('<>:"|?*\\') and path.name.isprintable() and path.name[-1] not in " ."
    assert len(f"{path.name}.part".encode()) <= 143
