"""Newer programs on older databases, and both at once on one."""

import base64
import hashlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import httpx
import pytest
import sqlalchemy as sa

from progimage.storage.database import migrations
from progimage.storage.database.connections import make_engine
from progimage.storage.database.totals import counted, differences, summed
from tests.blobs import old_blob_file
from tests.integration.server import Server, eventually, serving
from tests.recorded import R, Statement, Version, recorded
from tests.servers import Postgres

RECORDED = recorded("0.1")
REVISIONS = sorted(path.name[1:5] for path in (Path(migrations.__file__).parent / "versions").glob("v[0-9]*.py"))
KNOWN_FIRST = (
    "format", "media_type", "width", "height", "frames", "animated", "duration", "mode", "bit_depth", "alpha", "icc",
    "orientation", "exif",
)  # fmt: skip
"""What the first version found out of an image."""
KNOWN = {"0001": KNOWN_FIRST, **dict.fromkeys(("0002", "0003", "0004"), (*KNOWN_FIRST, "perceptual_hash", "line_art"))}
# The first one goes through all that come after it, and the recorded one is upgraded below.
AT_REVISIONS = [
    pytest.param(revision, marks=[] if revision == "0001" else pytest.mark.endurance) for revision in REVISIONS
]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, data_dir: Path) -> str:
    """The URL of an empty database."""
    data_dir.mkdir()
    if request.param == "sqlite":
        return f"sqlite:///{data_dir / 'progimage.sqlite'}"
    database: Postgres = request.getfixturevalue("database")
    return database.new_database()


def upgrade(url: str, revision: str) -> None:
    """Bring a database's schema to a revision."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = make_engine(url)
    with engine.connect() as connection:
        config.attributes["connection"] = connection.execution_options(writes=True)
        alembic.command.upgrade(config, revision)
    engine.dispose()


def made_at(url: str, revision: str, data_dir: Path, version: Version = RECORDED) -> None:
    """Make a database as it was at a revision, with what a version wrote then, as far as that revision had it."""
    upgrade(url, min(revision, version.revision))
    engine = make_engine(url)
    schema = sa.MetaData()
    schema.reflect(engine)
    recorded_rows = version.databases[engine.dialect.name].rows
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        for name, rows in recorded_rows.items():
            table = schema.tables.get(name)
            if table is None:
                continue
            for row in rows:
                values = {column: value for column, value in row.items() if column in table.c}
                if name == "blobs" and revision in KNOWN:
                    values["info"] = json.dumps({key: json.loads(row["info"])[key] for key in KNOWN[revision]})
                connection.execute(sa.insert(table).values(**values))
        if engine.dialect.name == "postgresql" and "audit" in schema.tables:  # as if it had counted them itself
            connection.execute(sa.text("SELECT setval('audit_id_seq', (SELECT max(id) FROM audit))"))
    engine.dispose()
    upgrade(url, revision)
    for name, data in version.files.items():
        path = old_blob_file(data_dir / "blobs", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))


def rows_of(url: str, query: str) -> list[Any]:
    """Ask the database itself."""
    engine = make_engine(url)
    with engine.connect() as connection:
        found = connection.execute(sa.text(query)).all()
    engine.dispose()
    return list(found)


def admin(server: Server, key: str | None) -> httpx.Client:
    """A client of an administrator, with a key that was made before, if there is one."""
    if key is None:
        return server.as_owner("default", "admin")
    return server.new_client(headers={"authorization": f"Bearer {key}"})


def listed(client: httpx.Client, **filters: str) -> dict[str, dict]:
    """The images of both owners that a service lists, by their references."""
    found: dict[str, dict] = {}
    for owner in ("default", "shop"):
        answer = client.get("/storage/", params={"limit": "1000", "owner": owner, **filters})
        assert answer.status_code == 200, answer.text
        found |= {image["reference"]: image for image in answer.json()["images"]}
    return found


def agrees(server: Server, client: httpx.Client, url: str) -> None:
    """Hold what a service answers of lists and totals against the rows themselves."""
    live = f"deleted_at IS NULL AND (held OR expires_at IS NULL OR expires_at > {time.time()})"
    assert set(listed(client)) == {row[0] for row in rows_of(url, f"SELECT reference FROM images WHERE {live}")}
    gone = "SELECT reference FROM images WHERE deleted_at IS NOT NULL"
    assert set(listed(client, deleted="true")) == {row[0] for row in rows_of(url, gone)}
    query = f"SELECT label, reference FROM labels JOIN images USING (reference) WHERE {live}"
    for label, reference in rows_of(url, query):
        assert reference in listed(client, label=label)
    for sha256, owner in rows_of(url, f"SELECT DISTINCT sha256, owner FROM images WHERE {live}"):
        assert any(image["owner"] == owner for image in listed(client, sha256=sha256).values())
    counted = rows_of(
        url, "SELECT owner, count(*), sum(blobs.bytes) FROM images JOIN blobs USING (sha256) GROUP BY owner"
    )
    answered = {one["owner"]: (one["images"], one["bytes"]) for one in client.get("/owners").json()}
    assert {owner: (images, size) for owner, images, size in counted} == answered
    there = rows_of(url, "SELECT count(*) FROM images WHERE deleted_at IS NULL")[0][0]
    size = rows_of(url, "SELECT sum(bytes) FROM blobs WHERE sha256 IN (SELECT sha256 FROM images)")[0][0]

    def told() -> tuple[float, float]:
        lines = (line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
        values = dict(lines)
        return float(values["progimage_images"]), float(values["progimage_bytes_stored"])

    eventually(lambda: told() == (there, size))  # it may be a moment old


def replay(url: str, operation: str) -> None:
    """Execute the statements of an operation as the driver got them from the version that was recorded."""
    engine = make_engine(url)
    with engine.connect().execution_options(writes=True) as connection:
        execute(connection, operation, {})
    engine.dispose()


def execute(connection: sa.Connection, operation: str, others: dict[Any, Any]) -> None:
    """Execute the statements of an operation, some values replaced by others."""
    for transaction in RECORDED.databases[connection.dialect.name].operations[operation]:
        with connection.begin():
            for statement in transaction:
                for parameters in _parameters(statement, others):
                    connection.exec_driver_sql(statement.sql, parameters)


def _parameters(statement: Statement, others: dict[Any, Any]) -> Iterator[Any]:
    for one in statement.parameters if statement.many else [statement.parameters]:
        if isinstance(one, dict):
            yield {name: others.get(value, value) for name, value in one.items()}
        else:
            yield tuple(others.get(value, value) for value in one)


@pytest.mark.parametrize("revision", AT_REVISIONS)
def test_what_an_older_version_has_written_is_served(url: str, revision: str, data_dir: Path) -> None:
    made_at(url, revision, data_dir)
    kind = make_engine(url).dialect.name
    before = RECORDED.databases[kind].rows
    had_owners = revision >= "0003"
    key = RECORDED.keys[f"{kind} admin"] if had_owners else None
    with serving(data_dir, database_url=url, jobs=0) as server, admin(server, key) as client:
        found = listed(client) | listed(client, deleted="true")
        expired = R[7] if had_owners else None
        assert set(found) == {row["reference"] for row in before["images"]} - {expired}
        labels = {
            reference: sorted(row["label"] for row in before["labels"] if row["reference"] == reference)
            for reference in found
        }
        for row in before["images"]:
            if row["reference"] not in found:
                continue
            image = found[row["reference"]]
            assert (image["filename"], image["sha256"]) == (row["filename"], row["sha256"])
            if had_owners:
                assert (image["owner"], image["held"], image["labels"]) == (
                    row["owner"], row["held"], labels[row["reference"]],
                )  # fmt: skip
                assert image["metadata"] == json.loads(row["metadata"] or "{}")
            if image["deleted_at"] is None:
                data = client.get(f"/storage/{row['reference']}").content
                assert hashlib.sha256(data).hexdigest() == row["sha256"]
        assert client.get(f"/storage/{R[2]}.webp?width=300").status_code == 200
        assert client.get(f"/storage/{R[2]}/info").json()["upright_width"] == 1100
        agrees(server, client, url)
        if had_owners:
            assert {row["id"] for row in before["api_keys"]} == {one["id"] for one in client.get("/keys").json()}
            events = client.get("/audit?limit=1000").json()["events"]
            assert {row["id"] for row in before["audit"]} <= {event["id"] for event in events}
            shop = {"authorization": f"Bearer {RECORDED.keys[f'{kind} shop']}"}
            assert server.client.get("/account", headers=shop).json()["max_images"] == 1000
            revoked = {"authorization": f"Bearer {RECORDED.keys[f'{kind} revoked']}"}
            assert server.client.get("/account", headers=revoked).status_code == 401
        assert client.put("/storage/", content=base64.b64decode(min(RECORDED.files.values()))).status_code == 200


def test_a_node_of_the_version_before_goes_on_beside_a_new_one(url: str, data_dir: Path) -> None:
    made_at(url, RECORDED.revision, data_dir)
    kind = make_engine(url).dialect.name
    with (
        serving(data_dir, database_url=url, jobs=0) as server,
        admin(server, RECORDED.keys[f"{kind} admin"]) as client,
    ):
        agrees(server, client, url)
        for operation in RECORDED.databases[kind].operations:
            replay(url, operation)
            agrees(server, client, url)
        there = listed(client)
        assert {R[10], R[11], R[4]} <= set(there) and not {R[3], R[7], R[8]} & set(there)
        assert there[R[1]]["labels"] == ["three"] and there[R[1]]["metadata"] == {"shelf": "8"}
        assert there[R[10]]["labels"] == ["new"] and there[R[6]]["held"]
        assert set(listed(client, deleted="true")) == {R[3], R[7]}
        eventually(lambda: client.get(f"/storage/{R[3]}").status_code == 404)
        for reference, image in there.items():
            data = client.get(f"/storage/{reference}").content
            assert hashlib.sha256(data).hexdigest() == image["sha256"]
        done = {event["action"] for event in client.get("/audit?limit=1000").json()["events"]}
        assert {"upload", "change", "hold", "delete", "undelete", "expire", "purge", "key-rotate", "owner-set"} <= done
        # and what the new one does is the old one's, too
        assert client.delete(f"/storage/{R[10]}").status_code == 204
        assert client.post(f"/storage/{R[3]}/undelete").status_code == 200
        for operation in ("list", "totals", "key use", "claim", "audit"):
            replay(url, operation)
        agrees(server, client, url)


class Nodes:
    """Nodes of the version before that upload, delete, purge and list for as long as the block lasts.

    Attributes:
        longest: The seconds that an operation took, at most.
        done: How many they have done.
    """

    def __init__(self, url: str, there: int) -> None:
        self._url, self._there = url, there
        self._over = threading.Event()
        self.longest, self.done = 0.0, 0

    def __enter__(self) -> "Nodes":
        self._threads = ThreadPoolExecutor(3)
        works = (self._upload_new, self._use_old, self._list)
        self._running = [self._threads.submit(self._repeat, work) for work in works]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for running in self._running:
            running.result()
        self._threads.shutdown()

    def _repeat(self, work: Callable[[sa.Connection, int], None]) -> None:
        engine = make_engine(self._url)
        with engine.connect() as connection:
            for number in itertools.count():
                if self._over.is_set():
                    break
                began = time.monotonic()
                work(connection, number)
                self.longest = max(self.longest, time.monotonic() - began)
                self.done += 1
        engine.dispose()

    def _upload_new(self, connection: sa.Connection, number: int) -> None:
        execute(connection, "upload", {R[10]: f"aaaaaaaa-{number:024}", UPLOADED: f"{number:064}"})

    def _use_old(self, connection: sa.Connection, number: int) -> None:
        """Upload what is there already, delete something, and purge what was deleted before."""
        sha256 = hashlib.sha256(str(number % self._there).encode()).hexdigest()
        execute(connection, "upload", {R[10]: f"bbbbbbbb-{number:024}", UPLOADED: sha256})
        if number < self._there // 2:
            execute(connection, "delete", {R[3]: f"cccccccc-{number:024}"})
            execute(connection, "purge", {R[8]: f"cccccccc-{number:024}"})

    def _list(self, connection: sa.Connection, number: int) -> None:
        execute(connection, "list", {})
        execute(connection, "expire", {R[7]: R[0]})


UPLOADED = RECORDED.databases["postgresql"].operations["upload"][0][0].parameters["sha256"]
INDEXES = """SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relname LIKE 'ix_%'"""


@pytest.mark.parametrize("count", [3000, pytest.param(200_000, marks=pytest.mark.endurance)])
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_nodes_of_the_version_before_go_on_while_the_schema_is_changed(url: str, count: int, data_dir: Path) -> None:
    made_at(url, RECORDED.revision, data_dir)
    engine = make_engine(url)
    with engine.begin() as connection:
        for statement in (
            "SET LOCAL statement_timeout = 0",
            "INSERT INTO blobs (sha256, bytes, format, info, ladder_bytes, stored, touched_at, damaged)"
            " SELECT encode(sha256(i::text::bytea), 'hex'), i, 'PNG', '{}', 7, true, 0, i %% 100 = 0"
            f" FROM generate_series(0, {count - 1}) AS i",
            "INSERT INTO images (reference, sha256, owner, uploaded_at, deleted_at)"
            " SELECT 'cccccccc-' || lpad(i::text, 24, '0'), encode(sha256((i / 2)::text::bytea), 'hex'), 'default', i,"
            f" CASE WHEN i %% 10 = 9 THEN i END FROM generate_series(0, {count - 1}) AS i",
            "INSERT INTO labels (reference, label) SELECT reference, 'one' FROM images WHERE reference > 'c'",
        ):
            connection.exec_driver_sql(statement)

    def is_filling() -> bool:
        with suppress(sa.exc.ProgrammingError):  # the column is not there yet
            return bool(rows_of(url, "SELECT reference FROM images WHERE format IS NOT NULL LIMIT 1"))
        return False

    def migration() -> subprocess.Popen[bytes]:
        program = "import sys, pathlib; from progimage.storage.database.migrations import migrate;"
        program += "migrate(sys.argv[1], pathlib.Path(sys.argv[2]))"
        return subprocess.Popen([sys.executable, "-c", program, url, str(data_dir / "migration.lock")])

    with Nodes(url, count) as nodes:
        for is_there in (
            is_filling,
            lambda: any(name == "ix_images_uploaded" for name, _ in rows_of(url, INDEXES)),
        ):
            killed = migration()
            while not is_there():
                assert killed.poll() is None
            killed.kill()
            killed.wait()
        last = migration()
        assert last.wait() == 0
    assert nodes.longest < 2 and nodes.done > 50, (nodes.longest, nodes.done)
    with engine.connect() as connection:
        assert counted(connection) == summed(connection)
        assert differences(connection).blobs == 0
    engine.dispose()
    indexes = dict(rows_of(url, INDEXES))
    assert all(indexes.values()) and "ix_images_uploaded" in indexes and "ix_images_expires_at" not in indexes
    for query in (
        "SELECT reference FROM images JOIN blobs USING (sha256) WHERE images.format <> blobs.format"
        " OR images.format IS NULL OR images.bytes <> blobs.bytes",
        "SELECT reference FROM images JOIN labels USING (reference)"
        " WHERE labels.owner IS NULL OR labels.owner <> images.owner OR labels.uploaded_at <> images.uploaded_at",
    ):
        assert not rows_of(url, query)


@pytest.mark.parametrize("url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.endurance)], indirect=True)
def test_an_older_program_works_on_a_newer_schema(url: str, data_dir: Path) -> None:
    """As on nodes that are upgraded last, or where an upgrade was taken back and the database stayed as it was."""
    data = base64.b64decode(min(RECORDED.files.values(), key=len))
    with serving(data_dir, database_url=url, jobs=0) as server:
        before = server.put(data)
        engine = make_engine(url)
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            connection.exec_driver_sql("ALTER TABLE images ADD COLUMN colour text")
            connection.exec_driver_sql("ALTER TABLE blobs ADD COLUMN pages integer NOT NULL DEFAULT 1")
            connection.exec_driver_sql("CREATE TABLE albums (id integer PRIMARY KEY)")
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        engine.dispose()
        during = server.put(data)
    with serving(data_dir, database_url=url, jobs=0) as server, server.as_owner("default", "admin") as client:
        after = server.put(data)
        assert {before, during, after} <= set(listed(client))
        assert client.delete(f"/storage/{before}").status_code == 204
        assert client.post(f"/storage/{before}/undelete").status_code == 200
        assert client.get(f"/storage/{before}").content == data
        assert server.command("owners", "list")
    assert rows_of(url, "SELECT version_num FROM alembic_version") == [("9999",)]
