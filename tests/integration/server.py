"""A real server for tests: the command of the README, on a free port, in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.servers import free_port

PROGIMAGE = str(Path(sys.executable).with_name("progimage"))


class Server:
    """A running server.

    Args:
        data_dir: Where it keeps its data.
        settings: PROGIMAGE_* environment variables, without the prefix.
        python_path: A folder whose sitecustomize.py changes the server, for codecs that misbehave.
        ready: Wait until it is ready, not only there.
        port: Where it listens; 0: anywhere.
        wrapper: A command that runs it.
    """

    def __init__(
        self,
        data_dir: Path,
        python_path: Path | None = None,
        ready: bool = True,
        port: int = 0,
        wrapper: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir.with_name(f"{data_dir.name}.log")
        self.port = port or free_port()
        self.environment = dict(os.environ) | {
            f"PROGIMAGE_{name.upper()}": str(value) for name, value in settings.items()
        }
        if python_path:
            self.environment["PYTHONPATH"] = str(python_path)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, PROGIMAGE, "serve", "--port", str(self.port), "--data-dir", str(data_dir)],
                env=self.environment,
                stderr=log,
                start_new_session=True,
            )
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = self.new_client(timeout=120)
        self._wait_until_ready("/readyz" if ready else "/healthz")

    def _wait_until_ready(self, path: str) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if self.client.get(path).status_code == 200:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start:\n{self.log()}")

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def put(self, data: bytes, name: str = "picture") -> str:
        response = self.client.put("/storage/", files={"data": (name, data)})
        assert response.status_code == 200, response.text
        return response.text

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(f"/storage/{path}", **options)

    def command(self, *arguments: str) -> str:
        """Run another command of the same deployment, and return what it prints."""
        environment = self.environment | {"PROGIMAGE_DATA_DIR": str(self.data_dir)}
        done = subprocess.run([PROGIMAGE, *arguments], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def as_owner(self, owner: str, *scopes: str) -> httpx.Client:
        """A client with a new key of an owner, for all but administration unless scopes are given."""
        options = [option for scope in scopes for option in ("--scope", scope)]
        key = self.command("keys", "create", "--owner", owner, *options)
        return self.new_client(headers={"authorization": f"Bearer {key}"})

    def new_client(self, timeout: float = 60, **options: Any) -> httpx.Client:
        """A client of its own; it loads no certificates, which takes longer than many a test."""
        return httpx.Client(base_url=self.url, timeout=timeout, verify=False, **options)

    def stop(self) -> int:
        """SIGTERM, and wait."""
        self.process.terminate()
        code = self.process.wait(timeout=60)
        self.client.close()
        return code

    def kill(self) -> None:
        """SIGKILL to every process of it at once, as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.client.close()


@contextlib.contextmanager
def serving(
    data_dir: Path,
    python_path: Path | None = None,
    ready: bool = True,
    wrapper: Sequence[str] = (),
    **settings: Any,
) -> Iterator[Server]:
    server = Server(data_dir, python_path, ready, wrapper=wrapper, **settings)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
        assert '"status":500' not in server.log()
        assert "Traceback" not in server.log(), server.log()


def eventually(check: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)
