"""Where a folder of blobs has its files."""

import re
from pathlib import Path

_NAME = re.compile(r"[0-9a-f]{64}(-\d+)?")


def blob_file(folder: Path, name: str) -> Path:
    """Where a blob is put."""
    return folder / name[:2] / name[2:4] / name


def old_blob_file(folder: Path, name: str) -> Path:
    """Where earlier versions put it."""
    return folder / name[:2] / name


def blob_files(folder: Path) -> list[Path]:
    """All files of blobs, by their names."""
    return sorted((path for path in folder.rglob("*") if _NAME.fullmatch(path.name)), key=lambda path: path.name)


def in_old_layout(folder: Path) -> None:
    """Move all blobs to where earlier versions put them."""
    for path in blob_files(folder):
        path.rename(old_blob_file(folder, path.name))
    for prefix in folder.glob("*/*/"):
        if prefix.is_dir():
            prefix.rmdir()
