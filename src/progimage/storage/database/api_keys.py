"""API keys, with hashes of their secrets."""

import asyncio
import hmac
from typing import Any

import sqlalchemy as sa

from progimage import clock
from progimage.auth import ApiKey, BadKey, Caller, NewKey, Scope, new_key, parse_key
from progimage.auth.keys import hashed
from progimage.storage.database.audit import Event, write_events
from progimage.storage.database.connections import Database
from progimage.storage.database.schema import api_keys
from progimage.storage.threads import in_thread


class UnknownKey(Exception):
    """No active key has this ID."""


class Keys:
    """The keys.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, caller: Caller, owner: str, name: str, scopes: frozenset[Scope], expires_at: float | None = None
    ) -> NewKey:
        """Create a key.

        Args:
            caller: Caller that creates it.
            owner: Owner that the key acts for.
            name: Description of the key.
            scopes: What the key allows.
            expires_at: When it expires, as a Unix timestamp; None: never.
        """
        made = new_key(owner, name, scopes, expires_at)
        await asyncio.to_thread(self._create, caller, made.key)
        return made

    @in_thread
    def rotate(self, caller: Caller, id: str, grace_seconds: float) -> NewKey:
        """Create a copy of a key with a new secret. The old key stays valid for a grace period.

        Raises:
            UnknownKey: There is no active key with this ID.
        """
        with self._database.writing() as connection:
            old = _active(connection, id)
            made = new_key(old.owner, old.name, old.scopes, old.expires_at)
            _insert(connection, caller, made.key, "key-rotate", replaces=id)
            ends = min(clock.now() + grace_seconds, old.expires_at or float("inf"))
            connection.execute(sa.update(api_keys).where(api_keys.c.id == id).values(expires_at=ends))
        return made

    @in_thread
    def revoke(self, caller: Caller, id: str) -> ApiKey:
        """Revoke a key permanently, and return it.

        Raises:
            UnknownKey: There is no active key with this ID.
        """
        with self._database.writing() as connection:
            key = _active(connection, id)
            connection.execute(sa.update(api_keys).where(api_keys.c.id == id).values(revoked_at=clock.now()))
            write_events(connection, [Event.by(caller, "key-revoke", key.owner, detail={"key": id, "name": key.name})])
        return key

    @in_thread
    def all(self, owner: str | None = None) -> list[ApiKey]:
        """Return all keys, or those of one owner, including revoked ones."""
        query = sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        if owner is not None:
            query = query.where(api_keys.c.owner == owner)
        with self._database.reading() as connection:
            return [_key(row) for row in connection.execute(query)]

    @in_thread
    def get(self, id: str) -> ApiKey | None:
        """Return the key with this ID, or None."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(api_keys).where(api_keys.c.id == id)).first()
        return _key(row) if row else None

    async def verify(self, text: str) -> ApiKey:
        """Return the key for the text that a caller sent.

        Raises:
            BadKey: The key is invalid, was revoked, or has expired.
        """
        id, secret = parse_key(text)
        key = await self.get(id)
        if key is None:
            hmac.compare_digest("0" * 64, hashed(secret))  # so that an unknown ID takes as long as a wrong secret
        elif key.matches(secret) and key.is_active:
            return key
        raise BadKey("The key is invalid, was revoked, or has expired.")

    def _create(self, caller: Caller, key: ApiKey) -> None:
        with self._database.writing() as connection:
            _insert(connection, caller, key, "key-create")


def _active(connection: sa.Connection, id: str) -> ApiKey:
    row = connection.execute(sa.select(api_keys).where(api_keys.c.id == id).with_for_update()).first()
    if row is None or not _key(row).is_active:
        raise UnknownKey(id)
    return _key(row)


def _insert(connection: sa.Connection, caller: Caller, key: ApiKey, action: str, **detail: str) -> None:
    values = {
        "id": key.id,
        "owner": key.owner,
        "name": key.name,
        "sha256": key.sha256,
        "scopes": ",".join(sorted(key.scopes)),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }
    connection.execute(sa.insert(api_keys).values(**values))
    event = Event.by(
        caller, action, key.owner, detail={"key": key.id, "name": key.name, "scopes": sorted(key.scopes), **detail}
    )
    write_events(connection, [event])


def _key(row: Any) -> ApiKey:
    scopes = frozenset(map(Scope, row.scopes.split(",")))
    return ApiKey(row.id, row.owner, row.name, row.sha256, scopes, row.created_at, row.expires_at, row.revoked_at)
