"""The sandbox: what a worker can't do even if its code is taken over."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from progimage.workers import Sandbox, WorkerPool, available_defences


def read(path: str) -> int:
    return len(Path(path).read_bytes())


def names(path: str) -> list[str]:
    return os.listdir(path)


def write(path: str) -> None:
    Path(path).write_bytes(b"x")


def make_link(source: str, target: str) -> None:
    os.link(source, target)


def make_socket() -> None:
    socket.socket()


def run_program() -> None:
    subprocess.run(["/bin/true"], check=True)


def signal_parent() -> None:
    os.kill(os.getppid(), signal.SIGCONT)


def trace_parent() -> int:
    return len(Path(f"/proc/{os.getppid()}/environ").read_bytes())


def make_permission() -> None:
    os.chmod("/tmp", 0o777)


@pytest.fixture
def ask(tmp_path: Path):
    readable, writable = tmp_path / "in", tmp_path / "out"
    readable.mkdir()
    writable.mkdir()
    (readable / "file").write_bytes(b"12345")
    sandbox = Sandbox(1 << 30, 5, 1 << 20, (readable,), (writable,), (Path(__file__).parents[2],))  # has this file
    pool = WorkerPool(1, 1, 5, sandbox)

    def run(function: Callable, *arguments: object) -> object:
        return asyncio.run(pool.run(function, *(str(a) for a in arguments)))

    yield run, readable, writable
    pool.close()


def test_scratch_can_be_used(ask) -> None:
    run, readable, writable = ask
    assert run(read, readable / "file") == 5
    run(write, writable / "new")
    assert (writable / "new").read_bytes() == b"x"


@pytest.mark.skipif(not available_defences()["landlock"], reason="this kernel has no Landlock")
def test_other_files_cannot(ask, tmp_path: Path) -> None:
    run, readable, writable = ask
    (tmp_path / "secret").write_bytes(b"s")
    for function, *arguments in (
        (read, tmp_path / "secret"),
        (read, "/etc/passwd"),
        (names, readable),  # where the files of other tasks are
        (names, writable),
        (write, readable / "file"),
        (write, tmp_path / "elsewhere"),
        (make_link, readable / "file", writable / "second"),
        (trace_parent,),
    ):
        with pytest.raises(OSError):
            run(function, *arguments)


@pytest.mark.skipif(not available_defences()["seccomp"], reason="this kernel has no seccomp")
@pytest.mark.parametrize("function", [make_socket, run_program, make_permission])
def test_system_calls_cannot(ask, function: Callable) -> None:
    with pytest.raises(PermissionError):
        ask[0](function)
