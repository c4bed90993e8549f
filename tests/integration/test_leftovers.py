"""What killed processes and clients that left leave behind: nothing."""

import contextlib
import os
import random
import signal
import socket
import threading
from pathlib import Path

from PIL import Image

from tests import pictures
from tests.integration.server import Server, eventually, serving


def children(pid: int) -> list[int]:
    """The processes below one, all generations."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def scratch_files(data_dir: Path) -> list[Path]:
    return [path for path in (data_dir / "spool").rglob("*") if path.is_file() and path.name != "lock"]


def http_process(server: Server) -> int:
    return next(pid for pid in children(server.process.pid) if children(pid))


def noise(side: int) -> bytes:
    return pictures.saved(Image.frombytes("RGB", (side, side), random.Random(1).randbytes(side * side * 3)), "PNG")


def test_clients_that_leave_during_a_rendering_leave_no_scratch_file(data_dir: Path) -> None:
    with serving(data_dir, ladder="false") as server:
        reference = server.put(noise(1000))
        generator = random.Random(3)

        def leave(first: int) -> None:
            for index in range(first, first + 30):
                with socket.create_connection(("127.0.0.1", server.port)) as connection:
                    path = f"/storage/{reference}.bmp?width={1000 - index}"
                    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
                    connection.settimeout(generator.uniform(0.005, 0.15))
                    with contextlib.suppress(TimeoutError):
                        connection.recv(1)

        threads = [threading.Thread(target=leave, args=(100 * number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        eventually(lambda: not scratch_files(data_dir))
        assert not list((data_dir / "spool").glob("*/*/*"))


def test_what_a_killed_http_process_left_is_removed_while_others_run(data_dir: Path) -> None:
    with serving(data_dir, http_processes=2, workers=2) as server:
        eventually(lambda: len(list((data_dir / "spool").iterdir())) == 2)
        before = {path.name for path in (data_dir / "spool").iterdir()}
        eventually(lambda: b"progimage_pool_workers 2.0" in server.client.get("/metrics").content)
        os.kill(http_process(server), signal.SIGKILL)

        def is_clear() -> bool:
            now = {path.name for path in (data_dir / "spool").iterdir()}
            return len(now) == 2 and now != before

        eventually(is_clear)
        eventually(lambda: b"progimage_pool_workers 2.0" in server.client.get("/metrics").content)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_when_the_main_process_is_killed_all_others_end_and_the_port_is_free(data_dir: Path) -> None:
    with serving(data_dir) as server:
        others = children(server.process.pid)
        assert len(others) >= 3
        os.kill(others[-1], signal.SIGSTOP)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        eventually(lambda: not any(map(is_alive, others)))
        eventually(lambda: is_free(server.port))
        server = Server(data_dir, port=server.port)
        assert server.put(noise(20))
        server.stop()


def test_workers_that_are_stopped_are_replaced(data_dir: Path) -> None:
    with serving(data_dir, task_seconds=2, workers=2) as server:
        reference = server.put(noise(50))
        fork_server = next(pid for pid in children(http_process(server)) if children(pid))
        for worker in children(fork_server):
            os.kill(worker, signal.SIGSTOP)
        answer = server.get(f"{reference}.webp")
        assert answer.status_code == 200, answer.text
