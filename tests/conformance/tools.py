"""Runs the programs that make and judge files; a test that needs one which is not there is skipped."""

import re
import subprocess
import tempfile
from pathlib import Path

from tests.programs import needs

_NAMES = {"convert": "ImageMagick"}


def run(program: str, *arguments: str, **files: bytes) -> bytes:
    """Run a program on files, and return the one that it makes.

    Args:
        program: Its name.
        arguments: `{name}` stands for the path of the file of that name, and `{out.png}` for that of what it makes.
        files: The content of each file; `a_png` is `{a.png}`.
    """
    path = needs(program)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file.replace("_", ".")).write_bytes(content)
        command = [_filled(argument, folder) for argument in arguments]
        done = subprocess.run([path, *command], capture_output=True, timeout=120)
        made = next(iter(sorted(folder.glob("out*"))), None)
        assert done.returncode == 0, f"{_NAMES.get(program, program)} says {_why(done)}"
        return made.read_bytes() if made else done.stdout


def _filled(argument: str, folder: Path) -> str:
    return re.sub(r"\{([\w.]+)\}", lambda match: str(folder / match[1]), argument)


def _why(done: subprocess.CompletedProcess[bytes]) -> str:
    """The last line of what a program said, without the paths of files."""
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or ["nothing"]
    line = lines[-1].partition(" @ ")[0].removeprefix("convert: ")
    return re.sub(r"[`'\"]?/\S+", "", line).strip()[:150]
