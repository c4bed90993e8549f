"""The API keys that there are; of their secrets only hashes."""

import asyncio
import hmac
from typing import Any

import sqlalchemy as sa

from progimage import clock
from progimage.auth import ApiKey, BadKey, Client, NewKey, Scope, new_key, parse_key
from progimage.auth.keys import hashed
from progimage.storage.database.audit import Event, write_events
from progimage.storage.database.connections import Database
from progimage.storage.database.schema import api_keys


class UnknownKey(Exception):
    """No key has this id."""


class Keys:
    """The keys.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database

    async def create(
        self, client: Client, owner: str, name: str, scopes: frozenset[Scope], expires_at: float | None = None
    ) -> NewKey:
        """Make a key.

        Args:
            client: Who asks for it.
            owner: In whose name it will be used.
            name: What it is for.
            scopes: What it will allow.
            expires_at: Until when, in seconds since 1970, or None: for ever.
        """
        made = new_key(owner, name, scopes, expires_at)
        await asyncio.to_thread(self._create, client, made.key)
        return made

    async def rotate(self, client: Client, id: str, grace_seconds: float) -> NewKey:
        """Make a key like another one, which ends after a time of grace: both are valid until then.

        Raises:
            UnknownKey: There is no active one with this id.
        """
        return await asyncio.to_thread(self._rotate, client, id, grace_seconds)

    async def revoke(self, client: Client, id: str) -> ApiKey:
        """End a key for good, and return it.

        Raises:
            UnknownKey: There is none, or it was revoked already.
        """
        return await asyncio.to_thread(self._revoke, client, id)

    async def all(self, owner: str | None = None) -> list[ApiKey]:
        """Return all keys, those that were revoked among them, or those of one owner."""
        return await asyncio.to_thread(self._all, owner)

    async def get(self, id: str) -> ApiKey | None:
        """Return a key, if there is one with this id."""
        return await asyncio.to_thread(self._get, id)

    async def verify(self, text: str) -> ApiKey:
        """Return the key that a text is.

        Raises:
            BadKey: It is none, was revoked, or has expired.
        """
        id, secret = parse_key(text)
        key = await self.get(id)
        if key is None:
            hmac.compare_digest("0" * 64, hashed(secret))  # so that an unknown id takes as long as a wrong secret
        elif key.matches(secret) and key.is_active:
            return key
        raise BadKey("The key is not valid, was revoked, or has expired.")

    def _create(self, client: Client, key: ApiKey) -> None:
        with self._database.writing() as connection:
            _insert(connection, client, key, "key-create")

    def _rotate(self, client: Client, id: str, grace_seconds: float) -> NewKey:
        with self._database.writing() as connection:
            old = _active(connection, id)
            made = new_key(old.owner, old.name, old.scopes, old.expires_at)
            _insert(connection, client, made.key, "key-rotate", replaces=id)
            ends = min(clock.now() + grace_seconds, old.expires_at or float("inf"))
            connection.execute(sa.update(api_keys).where(api_keys.c.id == id).values(expires_at=ends))
        return made

    def _revoke(self, client: Client, id: str) -> ApiKey:
        with self._database.writing() as connection:
            key = _active(connection, id)
            connection.execute(sa.update(api_keys).where(api_keys.c.id == id).values(revoked_at=clock.now()))
            write_events(connection, [Event.by(client, "key-revoke", key.owner, detail={"key": id, "name": key.name})])
        return key

    def _all(self, owner: str | None) -> list[ApiKey]:
        query = sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        if owner is not None:
            query = query.where(api_keys.c.owner == owner)
        with self._database.reading() as connection:
            return [_key(row) for row in connection.execute(query)]

    def _get(self, id: str) -> ApiKey | None:
        with self._database.reading() as connection:
            row = connection.execute(sa.select(api_keys).where(api_keys.c.id == id)).first()
        return _key(row) if row else None


def _active(connection: sa.Connection, id: str) -> ApiKey:
    row = connection.execute(sa.select(api_keys).where(api_keys.c.id == id).with_for_update()).first()
    if row is None or not _key(row).is_active:
        raise UnknownKey(id)
    return _key(row)


def _insert(connection: sa.Connection, client: Client, key: ApiKey, action: str, **detail: str) -> None:
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
        client, action, key.owner, detail={"key": key.id, "name": key.name, "scopes": sorted(key.scopes), **detail}
    )
    write_events(connection, [event])


def _key(row: Any) -> ApiKey:
    scopes = frozenset(map(Scope, row.scopes.split(",")))
    return ApiKey(row.id, row.owner, row.name, row.sha256, scopes, row.created_at, row.expires_at, row.revoked_at)
