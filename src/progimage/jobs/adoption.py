"""Take over the jobs of version 0.1, which kept them in tables of DBOS.

At an upgrade, and while nodes of that version still add jobs, they are moved to the current table. A job that such a
node is working on is left alone while the node is alive.
"""

import json
from typing import Any

import sqlalchemy as sa
import structlog

from progimage.jobs.job import KINDS, State, parent_of
from progimage.storage import Database
from progimage.storage.database.connections import insert_rows, time_of
from progimage.storage.database.schema import executors, jobs

log = structlog.get_logger(__name__)

_SILENT_SECONDS = 15.0
"""A process of version 0.1 is considered dead after this time without a sign of life."""
_ADOPTED_AT_ONCE = 500
_SCHEMA = "dbos"
_STATES = {
    "ENQUEUED": State.WAITING,
    "DELAYED": State.WAITING,
    "PENDING": State.WAITING,  # of a dead process
    "SUCCESS": State.DONE,
    "ERROR": State.FAILED,
    "CANCELLED": State.FAILED,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": State.FAILED,
}


def has_jobs_of_dbos(database: Database) -> bool:
    """Return whether the database has the tables of version 0.1."""
    with database.reading() as connection:
        return sa.inspect(connection).has_table("workflow_input", schema=_schema(connection))


def adopt(database: Database) -> int:
    """Move the jobs of version 0.1 to the current table, and return how many there were."""
    adopted = 0
    while True:
        with database.writing() as connection:
            count = _adopt_some(connection)
        adopted += count
        if count < _ADOPTED_AT_ONCE:
            break
    if adopted:
        log.info("took over jobs of an earlier version", jobs=adopted)
    return adopted


def _adopt_some(connection: sa.Connection) -> int:
    names = ("workflow_uuid", "status", "queue_name", "authenticated_user", "executor_id", "created_at", "updated_at")
    status = _table(connection, "workflow_status", *names)
    inputs = _table(connection, "workflow_input", "workflow_uuid", "inputs")
    outputs = _table(connection, "workflow_output", "workflow_uuid", "output", "error")
    steps = _table(connection, "operation_outputs", "workflow_uuid")
    now = time_of(connection)
    alive = sa.select(executors.c.id).where(executors.c.seen_at >= now - _SILENT_SECONDS)
    found = connection.execute(
        sa.select(status, inputs.c.inputs, outputs.c.output, outputs.c.error)
        .outerjoin_from(status, inputs, inputs.c.workflow_uuid == status.c.workflow_uuid)
        .outerjoin(outputs, outputs.c.workflow_uuid == status.c.workflow_uuid)
        .where(
            status.c.queue_name.in_(KINDS),
            status.c.status.in_(_STATES),
            sa.or_(status.c.status != "PENDING", status.c.executor_id.not_in(alive)),
        )
        .limit(_ADOPTED_AT_ONCE)
        .with_for_update(of=status, skip_locked=True)
    ).all()
    if found:
        insert_rows(connection, jobs, [_row(old, now) for old in found])
        ids = [old.workflow_uuid for old in found]
        for table in (steps, inputs, outputs, status):
            connection.execute(sa.delete(table).where(table.c.workflow_uuid.in_(ids)))
    return len(found)


def _row(old: Any, now: float) -> dict[str, Any]:
    state = _STATES[old.status]
    arguments = [*json.loads(old.inputs or "{}").get("positionalArgs", []), {}, {}]
    problem = None
    if state is State.FAILED:
        error = json.loads(old.error or "{}")
        problem = error.get("data") or {"detail": error.get("message") or old.status.lower()}
    return {
        "id": old.workflow_uuid,
        "parent": parent_of(old.workflow_uuid),
        "kind": old.queue_name,
        "owner": old.authenticated_user or "",
        "state": state,
        "arguments": json.dumps(arguments[0]),
        "trace": json.dumps(arguments[1]),
        "due_at": now if state is State.WAITING else None,
        "created_at": old.created_at / 1000,
        "updated_at": old.updated_at / 1000,
        "result": old.output if state is State.DONE else None,
        "problem": json.dumps(problem) if problem else None,
    }


def _table(connection: sa.Connection, name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *map(sa.column, columns), schema=_schema(connection))


def _schema(connection: sa.Connection) -> str | None:
    return _SCHEMA if connection.dialect.name == "postgresql" else None
