"""Records as they were read lately, so that most requests don't ask the database."""

from dataclasses import dataclass

from cachetools import TTLCache

from progimage.engine.values import is_reference
from progimage.storage import Changes, Record, Records, UnknownReference

KNOWN_SECONDS = 5
"""How long what was read from the database is used at most. This node signals its own changes; other nodes don't.

A record is used for half of it, and a response that was made with it for the other half."""
_KNOWN_RECORDS = 20_000


@dataclass(frozen=True, slots=True)
class _Known:
    """A record that was read.

    Attributes:
        record: The record.
        state: State of its changes, from before it was read.
    """

    record: Record
    state: int


class RecordCache:
    """Reads records, and remembers them for a few seconds.

    Args:
        records: The records in the database.
        changes: Signals the changes of this node's processes.
    """

    def __init__(self, records: Records, changes: Changes) -> None:
        self._records, self._changes = records, changes
        self._known: TTLCache[str, _Known] = TTLCache(_KNOWN_RECORDS, KNOWN_SECONDS / 2)

    async def get(self, reference: str) -> Record:
        """Return the record of an image.

        Raises:
            UnknownReference: There is no such image.
        """
        seen = self._changes.state(reference)
        known: _Known | None = self._known.get(reference)
        if known and known.state == seen and known.record.is_live:
            return known.record
        record = await self._records.get(reference) if is_reference(reference) else None
        if record is None:
            raise UnknownReference(reference)
        self._known[reference] = _Known(record, seen)
        return record

    def renew(self, record: Record) -> None:
        """Remember a record that was just written."""
        if record.is_live:
            self._known[record.reference] = _Known(record, self._changes.state(record.reference))
