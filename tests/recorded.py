"""What a version of the service writes to its database, as plain SQL: rows, and the statements of each operation.

`python -m tests.recorded NAME` records the version that is installed to `tests/data/version-NAME.json`, on SQLite and
on PostgreSQL. What was recorded of a version that was given out is never recorded anew: it is held against each schema
that comes after it (`tests/integration/test_upgrades.py`).
"""

import asyncio
import base64
import hashlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from PIL import Image

from progimage.auth import Caller, Scope, Visibility
from progimage.auth.caller import OPERATOR
from progimage.engine import SIDES, Limits, inspect_upload
from progimage.storage import Blob, Catalogue, ImageFilter, Quota, Record
from progimage.storage.database.migrations import migrate
from progimage.storage.database.schema import executors, metadata
from tests.servers import postgres

DATA = Path(__file__).parent / "data"
R = [f"00000000-0000-4000-8000-{number:012}" for number in range(12)]
"""The references, by their numbers."""
_CLIENT = Caller(OPERATOR, "127.0.0.1")


class Statement(msgspec.Struct):
    """A statement as the driver gets it; `many`: it is done for each of several parameters."""

    sql: str
    parameters: Any
    many: bool = False


class Database(msgspec.Struct):
    """What was recorded on one kind of database.

    Attributes:
        rows: Of each table, before the operations.
        operations: The transactions of each.
    """

    rows: dict[str, list[dict[str, Any]]]
    operations: dict[str, list[list[Statement]]]


class Version(msgspec.Struct):
    """What was recorded of a version.

    Attributes:
        revision: Of its schema.
        files: What its store has, by name, in base64.
        keys: API keys, by whom they are for.
        databases: By SQLAlchemy's names of their kinds.
    """

    revision: str
    files: dict[str, str]
    keys: dict[str, str]
    databases: dict[str, Database]


def recorded(name: str) -> Version:
    """Return what was recorded of a version."""
    return msgspec.json.decode((DATA / f"version-{name}.json").read_bytes(), type=Version)


def main(name: str) -> None:
    """Record the version that is installed."""
    version = Version("", {}, {}, {})
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder, "postgres")) as server:
        blobs = [_blob(seed, Path(folder), version.files) for seed in range(5)]
        for url in (f"sqlite:///{folder}/database.sqlite", server.new_database()):
            migrate(url, Path(folder, "lock"))
            catalogue = Catalogue(url)
            asyncio.run(_record(catalogue, blobs, version))
            catalogue.close()
    (DATA / f"version-{name}.json").write_text(json.dumps(msgspec.to_builtins(version), indent=1) + "\n")


async def _record(catalogue: Catalogue, blobs: list[Blob], version: Version) -> None:
    records, inventory, keys = catalogue.records, catalogue.inventory, catalogue.keys
    engine = catalogue.database._engine

    async def add(number: int, blob: Blob, ticket: tuple[str, float] | None = None, **more: Any) -> None:
        await inventory.claim(blob)
        at = datetime.fromtimestamp(1_700_000_000 + number, UTC)
        await records.add(_CLIENT, [Record(R[number], blob, f"{number}.jpg", at, **more)], ticket)

    now = time.time()
    await catalogue.owners.set(_CLIENT, "shop", Quota(1000, None), None)
    made = {
        "admin": await keys.create(_CLIENT, "default", "admin", frozenset(Scope)),
        "shop": await keys.create(_CLIENT, "shop", "shop", frozenset({Scope.READ, Scope.UPLOAD})),
        "revoked": await keys.create(_CLIENT, "shop", "old", frozenset({Scope.READ})),
    }
    await keys.revoke(_CLIENT, made["revoked"].key.id)
    await add(1, blobs[0], owner="shop", labels=("one", "two"), metadata={"shelf": "7"})
    await add(2, blobs[1], owner="shop", visibility=Visibility.KEY)
    await add(3, blobs[0])
    await add(4, blobs[2], labels=("gone",))
    await add(5, blobs[2], owner="shop", expires_at=now - 50)
    await add(6, blobs[2], expires_at=now + 10**9)
    await add(7, blobs[2], expires_at=now - 100)
    await add(8, blobs[3])
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE images SET held = true WHERE reference = :one"), {"one": R[5]})
        connection.execute(sa.insert(executors).values(id="node-1", seen_at=now))
    await records.delete(_CLIENT, R[4])
    await records.delete(_CLIENT, R[8])
    await add(9, blobs[0], ("00000000-0000-4000-8000-0000000000aa", now + 10**9))
    kind = engine.dialect.name
    with engine.connect() as connection:
        version.revision = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
        rows = {
            table.name: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for table in metadata.sorted_tables
        }
    version.keys |= {f"{kind} {name}": key.text for name, key in made.items()}
    operations: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "upload": lambda: add(10, blobs[4], owner="shop", labels=("new",), expires_at=now + 10**9),
        "upload by ticket": lambda: add(11, blobs[0], ("00000000-0000-4000-8000-0000000000bb", now + 10**9)),
        "change": lambda: records.change(_CLIENT, R[1], {"labels": ("three",), "metadata": {"shelf": "8"}}),
        "hold": lambda: records.change(_CLIENT, R[6], {"held": True}),
        "delete": lambda: records.delete(_CLIENT, R[3]),
        "undelete": lambda: records.undelete(_CLIENT, R[4]),
        "expire": lambda: records.expire(10),
        "purge": lambda: records.purge(_CLIENT, R[8]),
        "claim": lambda: inventory.claim(blobs[0]),
        "reclaim": lambda: inventory.reclaim(-1000, lambda blob: None),
        "scrub": lambda: inventory.checked(blobs[1].sha256, damaged=True),
        "heal": lambda: inventory.checked(blobs[1].sha256, damaged=False),
        "redescribe": lambda: inventory.redescribe(blobs[2]),
        "key use": lambda: keys.verify(made["shop"].text),
        "key rotation": lambda: keys.rotate(_CLIENT, made["shop"].key.id, 3600),
        "quota": lambda: catalogue.owners.set(_CLIENT, "shop", Quota(500, None), 86400),
        "forget tickets": lambda: records.forget_tickets(),
        "audit": lambda: catalogue.audit.trim(now - 90 * 86400),
        "list": lambda: records.find(ImageFilter(owner="shop", labels=("three",), min_bytes=1), 10),
        "totals": lambda: inventory.totals(),
    }
    version.databases[kind] = Database(rows, {})
    for name, work in operations.items():
        with _recording(engine) as transactions:
            await work()
        version.databases[kind].operations[name] = transactions


@contextmanager
def _recording(engine: sa.Engine) -> Iterator[list[list[Statement]]]:
    """Note the statements that are executed, by their transactions; what is rolled back only read."""
    transactions: list[list[Statement]] = []
    current: list[Statement] = []

    def executed(_: Any, __: Any, sql: str, parameters: Any, ___: Any, many: bool) -> None:
        if not sql.startswith("BEGIN"):
            plain = [_plain(one) for one in parameters] if many else _plain(parameters)
            current.append(Statement(sql, plain, many))

    def ended(_: Any) -> None:
        if current:
            transactions.append(current.copy())
            current.clear()

    events: list[tuple[str, Callable[..., None]]] = [
        ("after_cursor_execute", executed),
        ("commit", ended),
        ("rollback", ended),
    ]
    for event, listener in events:
        sa.event.listen(engine, event, listener)
    try:
        yield transactions
    finally:
        for event, listener in events:
            sa.event.remove(engine, event, listener)


def _plain(parameters: Any) -> Any:
    return dict(parameters) if isinstance(parameters, dict) else list(parameters)


def _blob(seed: int, folder: Path, files: dict[str, str]) -> Blob:
    """Make an image as an upload does, and keep its files."""
    size = (1100, 700) if seed == 1 else (60 + seed, 40)
    written = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(written, "JPEG", quality=40)
    data = written.getvalue()
    path = folder / f"{seed}.jpg"
    path.write_bytes(data)
    rungs = {side: folder / f"{seed}-{side}" for side in SIDES}
    found = inspect_upload(path, Limits(), rungs)
    blob = Blob(hashlib.sha256(data).hexdigest(), len(data), found.info, found.ladder)
    files[blob.sha256] = base64.b64encode(data).decode()
    for rung in blob.rungs:
        files[blob.rung_name(rung)] = base64.b64encode(rungs[rung.side].read_bytes()).decode()
    return blob


if __name__ == "__main__":
    main(sys.argv[1])
