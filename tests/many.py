"""A database of very many images, made by SQL."""

from typing import Any

import sqlalchemy as sa

from progimage.storage.database.connections import make_engine
from progimage.storage.database.totals import recount

INFO = (
    '{"format":"PNG","media_type":"image/png","width":1,"height":1,"frames":1,"animated":false,"duration":0,"mode":"RGB",'
    '"bit_depth":8,"alpha":false,"icc":null,"orientation":1,"exif":{}}'
)
BEGAN = 1.7e9
"""The first image was uploaded then, the next ones a second after one another."""
RARE = 5
"""So many images have each rare property; they are the oldest, which lists come to last."""


def fill(url: str, count: int) -> None:
    """Add images: of three owners, one in ten deleted, one in five labelled, one in fifty expiring."""
    engine = make_engine(url)
    with engine.connect().execution_options(writes=True) as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        numbers = (
            f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1})"
            if is_sqlite
            else f"WITH n AS (SELECT i FROM generate_series(0, {count - 1}) AS i)"
        )
        sha256 = "printf('%064x', i)" if is_sqlite else "lpad(to_hex(i), 64, '0')"
        reference = (
            "printf('00000000-0000-4000-8000-%012x', i)"
            if is_sqlite
            else "'00000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0')"
        )
        format_ = f"CASE WHEN i < {RARE} THEN 'TIFF' ELSE 'PNG' END"
        size = f"CASE WHEN i < {RARE} THEN 7000000 + i ELSE 1000 + i % 50000 END"
        owner = "CASE i % 10 WHEN 0 THEN 'small' WHEN 1 THEN 'medium' ELSE 'default' END"

        def run(statement: str) -> None:
            connection.exec_driver_sql(statement if is_sqlite else statement.replace("%", "%%"))

        if is_sqlite:  # a log of so many pages would be read ever more slowly
            driver: Any = connection.connection.dbapi_connection
            driver.execute("PRAGMA journal_mode = OFF")
            driver.execute("PRAGMA cache_size = -1000000")
        with connection.begin():
            if not is_sqlite:  # one transaction that counts so many would count ever more slowly
                run("SET LOCAL statement_timeout = 0")
                for table in ("blobs", "images", "labels"):
                    run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            run(
                f"INSERT INTO blobs (sha256, bytes, format, info, stored, touched_at, checked_at, inspection, images)"
                f" {numbers} SELECT {sha256}, {size}, {format_}, '{INFO}', true, {BEGAN} + i, {BEGAN} + i, 99,"
                f" {0 if is_sqlite else 1} FROM n"
            )
            run(
                "INSERT INTO images"
                " (reference, sha256, owner, uploaded_at, expires_at, deleted_at, held, format, bytes)"
                f" {numbers} SELECT {reference}, {sha256}, {owner}, {BEGAN} + i,"
                f" CASE WHEN i % 50 = 7 THEN {BEGAN} * 2 + i END, CASE WHEN i % 10 = 9 THEN {BEGAN} + i END, false,"
                f" {format_}, {size} FROM n"
            )
            run(
                f"INSERT INTO labels (reference, label, owner, uploaded_at) {numbers} SELECT {reference},"
                f" CASE WHEN i < {10 * RARE} THEN 'rare' ELSE 'common' END, {owner}, {BEGAN} + i FROM n"
                f" WHERE i < {10 * RARE} OR i % 5 = 3"
            )
            run(
                f"INSERT INTO audit (at, action, owner, reference, detail) {numbers} SELECT {BEGAN} + i,"
                f" CASE WHEN i < {RARE} THEN 'hold' ELSE 'upload' END, {owner}, {reference}, '{{}}' FROM n"
            )
            if not is_sqlite:
                for table in ("blobs", "images", "labels"):
                    run(f"ALTER TABLE {table} ENABLE TRIGGER USER")
                run("ANALYZE")
            recount(connection)
        with connection.begin():  # as sweeps do, and autovacuum
            if is_sqlite:
                connection.exec_driver_sql("PRAGMA analysis_limit = 1000")
            connection.exec_driver_sql("ANALYZE")
    engine.dispose()


def reference_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def sha256_of(number: int) -> str:
    return f"{number:064x}"


def plan(connection: sa.Connection, statement: str, parameters: Any) -> list[str]:
    """How a database executes a statement, a line for each step."""
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    rows = connection.exec_driver_sql(explain + statement, parameters).all()
    return [str(row[-1]) for row in rows]
