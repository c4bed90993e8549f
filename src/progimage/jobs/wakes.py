"""Waking the processes that do jobs when there is one for them.

Within a node each of them listens to a FIFO of its own in the data folder, and whoever has put a job in writes a byte
into all of them. Between nodes PostgreSQL's NOTIFY does it. A wake-up that is lost only delays: everybody looks from
time to time, too.
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
"""Of PostgreSQL's NOTIFY."""
_AGAIN_SECONDS = 5.0
_SUFFIX = ".fifo"


class Wakes:
    """Wakes the processes of this node.

    Args:
        folder: Where their FIFOs are.
    """

    def __init__(self, folder: Path) -> None:
        """Store it; it is made when somebody listens."""
        self._folder = folder

    def wake(self) -> None:
        """Wake all who listen, and remove what dead processes have left."""
        for fifo in self._folder.glob(f"*{_SUFFIX}"):
            try:
                opened = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nobody reads it
                    fifo.unlink(missing_ok=True)
                continue
            with contextlib.suppress(OSError):  # it is full: its reader is about to wake
                os.write(opened, b".")
            os.close(opened)

    @contextlib.contextmanager
    def listening(self, heard: Callable[[], None]) -> Iterator[None]:
        """Have something called in the running event loop whenever this process is woken."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        fifo, hidden = self._folder / f"{name}{_SUFFIX}", self._folder / f"{name}.new"
        try:
            os.mkfifo(hidden, 0o600)
        except OSError as error:
            log.warning("the data folder takes no FIFO, so that jobs begin later", error=str(error))
            yield
            return
        reader = os.open(hidden, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(hidden, os.O_WRONLY | os.O_NONBLOCK)  # else it would be readable when others close it
        hidden.rename(fifo)  # only now, since a FIFO that nobody reads is removed

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
    """Have something called whenever a node puts jobs in, until this is cancelled.

    Args:
        url: SQLAlchemy's URL of the database.
        heard: What to call; also after each new connection, since something may have been missed.
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
            log.info("jobs of other nodes can't be heard of now", error=str(error).splitlines()[0])
        await asyncio.sleep(_AGAIN_SECONDS)
