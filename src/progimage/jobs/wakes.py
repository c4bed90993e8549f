"""Wake the processes that run jobs when there is a new one.

On a node, each process listens to its own FIFO in the data folder; adding a job writes a byte to all of them. Between
nodes, NOTIFY of PostgreSQL is used. A lost wake-up only causes a delay, since each process also polls.
"""

import asyncio
import contextlib
import errno
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

log = structlog.get_logger(__name__)

CHANNEL = "progimage_jobs"
"""Channel of PostgreSQL's NOTIFY."""
_AGAIN_SECONDS = 5.0
_SUFFIX = ".fifo"


class Wakes:
    """Wakes the processes of this node.

    Args:
        folder: Folder of their FIFOs; created when a process starts to listen.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def wake(self) -> None:
        """Wake all listening processes, and remove FIFOs of dead ones."""
        for fifo in self._folder.glob(f"*{_SUFFIX}"):
            try:
                opened = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno == errno.ENXIO:  # it has no reader
                    fifo.unlink(missing_ok=True)
                continue
            with contextlib.suppress(OSError):  # full: its reader is about to wake
                os.write(opened, b".")
            os.close(opened)

    @contextlib.contextmanager
    def listening(self, heard: Callable[[], None]) -> Iterator[None]:
        """Call a function in the running event loop whenever this process is woken."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        fifo, hidden = self._folder / f"{name}{_SUFFIX}", self._folder / f"{name}.new"
        try:
            os.mkfifo(hidden, 0o600)
        except OSError as error:
            log.warning("data folder doesn't support FIFOs, jobs start with a delay", error=str(error))
            yield
            return
        reader = os.open(hidden, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(hidden, os.O_WRONLY | os.O_NONBLOCK)  # otherwise it would be readable when others close it
        hidden.rename(fifo)  # only now, since a FIFO without a reader is removed

        def read() -> None:
            with contextlib.suppress(BlockingIOError):
                os.read(reader, 65536)
            heard()

        loop = asyncio.get_running_loop()
        loop.add_reader(reader, read)
        try:
            yield
        finally:
            loop.remove_reader(reader)
            fifo.unlink(missing_ok=True)
            os.close(reader)
            os.close(writer)


async def listen_to_postgres(url: str, heard: Callable[[], None]) -> None:
    """Call a function whenever a node adds jobs, until cancelled.

    Args:
        url: SQLAlchemy URL of the database.
        heard: The function; also called after each new connection, since notifications may have been missed.
    """
    import psycopg

    parsed = sa.make_url(url)
    arguments, given = parsed.get_dialect()().create_connect_args(parsed)
    options: dict[str, Any] = {
        "connect_timeout": 5, "application_name": "progimage", "autocommit": True,
        "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, **given,
    }  # fmt: skip
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(*arguments, **options) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                heard()
                async for _ in connection.notifies():
                    heard()
        except psycopg.Error as error:
            log.info("lost connection for notifications of jobs", error=str(error).splitlines()[0])
        await asyncio.sleep(_AGAIN_SECONDS)
