"""What the database's driver says in the log."""

import asyncio
import io
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from progimage import clock
from progimage.storage import Catalogue
from progimage.storage.database.connections import Database
from progimage.storage.database.migrations import migrate


def test_a_connection_that_was_lost_is_told_in_one_line() -> None:
    pool_log = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")._engine.pool.logger
    assert isinstance(pool_log, logging.Logger)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    pool_log.addHandler(handler)
    try:
        try:
            raise psycopg.OperationalError("server closed the connection\nit probably crashed")
        except psycopg.OperationalError:
            pool_log.error("Exception during reset", exc_info=True)
        try:
            raise KeyError("a fault of ours")
        except KeyError:
            pool_log.error("Exception during reset", exc_info=True)
    finally:
        pool_log.removeHandler(handler)
    lines = written.getvalue().splitlines()
    assert lines[0] == "warning Exception during reset: server closed the connection"
    assert lines[1] == "ERROR Exception during reset" and lines[-1] == "KeyError: 'a fault of ours'"


def test_a_slow_disk_does_not_put_the_clock_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    migrate(url, tmp_path / "lock")
    catalogue = Catalogue(url)

    @contextmanager
    def slowly(writing: Callable[[], AbstractContextManager[sa.Connection]] = catalogue.database.writing) -> Iterator:
        with writing() as connection:
            yield connection
            time.sleep(0.3)

    monkeypatch.setattr(catalogue.database, "writing", slowly)
    asyncio.run(catalogue.clock.look())
    assert abs(clock.now() - time.time()) < 0.1
    asyncio.run(catalogue.clock.resume())
    assert abs(clock.now() - time.time()) < 0.1
    catalogue.close()
