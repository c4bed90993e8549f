"""What the database's driver says in the log."""

import io
import logging

import psycopg

from progimage.storage.database.connections import Database


def test_a_connection_that_was_lost_is_told_in_one_line() -> None:
    pool_log = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")._engine.pool.logger
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
