"""Room in the spool: what is arriving counts at once, against its owner's quota and against a bound of the spool."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from progimage.storage.database.owners import Owner, Owners, QuotaExceeded


class SpoolFull(Exception):
    """There is no room for more of what a client sends.

    Args:
        allowed: How many bytes one client may have in the spool at once.
        own: The client has so many; else others have taken the room.
    """

    def __init__(self, allowed: int, own: bool) -> None:
        """Store the parts."""
        super().__init__(
            f"At most {allowed} bytes may be on their way at once."
            if own
            else "There is no room for this now, for all that is on its way."
        )
        self.allowed, self.own = allowed, own


class Room:
    """The room in one process's spool.

    Args:
        most: How many bytes may be in it. No client may have more than half of that, so that none keeps others out.
        owners: Know who may have how much.
    """

    def __init__(self, most: int, owners: Owners) -> None:
        """Start empty."""
        self._most, self.owners = most, owners
        self._by_client: Counter[str] = Counter()
        self.by_owner: dict[str, _Arriving] = {}

    @contextmanager
    def share(self, client: str, owner: Owner | None) -> Iterator["Share"]:
        """Lend room to a request; it is free again at the end.

        Args:
            client: Who sends it, as rates count it.
            owner: Whose images it brings; None: they are not to be stored.
        """
        share = Share(self, client, owner)
        try:
            yield share
        finally:
            share.give_back()

    def take(self, client: str, size: int) -> None:
        """Take some room, or give it back, if `size` is below 0.

        Raises:
            SpoolFull: There is not so much.
        """
        each = self._most // 2
        if size > 0 and self._by_client[client] + size > each:
            raise SpoolFull(each, own=True)
        if size > 0 and self._by_client.total() + size > self._most:
            raise SpoolFull(each, own=False)
        self._by_client[client] += size
        if not self._by_client[client]:
            del self._by_client[client]


@dataclass(slots=True)
class _Arriving:
    """What is on its way to an owner: images, and bytes of them."""

    images: int = 0
    bytes: int = 0


class Share:
    """The room that one request has taken."""

    def __init__(self, room: Room, client: str, owner: Owner | None) -> None:
        """Start empty."""
        self._room, self._client, self._owner = room, client, owner
        self._images = self._bytes = 0

    async def begin_image(self) -> None:
        """Count another image.

        Raises:
            QuotaExceeded: Its owner may not have one more.
        """
        await self._count(1, 0)

    async def take(self, size: int) -> None:
        """Take room for so many bytes more.

        Raises:
            QuotaExceeded: Their owner may not have so many.
            SpoolFull: There is not so much room.
        """
        self._room.take(self._client, size)
        self._bytes += size
        await self._count(0, size)

    async def expect(self, size: int) -> None:
        """Refuse what says itself that it will be too much.

        Raises:
            QuotaExceeded: Their owner may not have so many bytes.
            SpoolFull: There is not so much room.
        """
        self._room.take(self._client, size)
        self._room.take(self._client, -size)
        await self._check(1, size)

    def give_back(self) -> None:
        """End it; what was taken is free for others."""
        self._room.take(self._client, -self._bytes)
        if self._owner:
            arriving = self._room.by_owner.get(self._owner.name)
            if arriving:
                arriving.images -= self._images
                arriving.bytes -= self._bytes
                if not (arriving.images or arriving.bytes):
                    del self._room.by_owner[self._owner.name]
        self._images = self._bytes = 0

    async def _count(self, images: int, size: int) -> None:
        if self._owner:
            arriving = self._room.by_owner.setdefault(self._owner.name, _Arriving())
            arriving.images += images
            arriving.bytes += size
            self._images += images
            await self._check(0, 0)

    async def _check(self, images: int, size: int) -> None:
        """Hold what is on its way to the owner, and so much more, against its quota."""
        if self._owner is None:
            return
        owners, name = self._room.owners, self._owner.name

        def arriving() -> tuple[int, int]:
            all_ = self._room.by_owner.get(name, _Arriving())
            return all_.images + images, all_.bytes + size

        try:
            owners.admit(self._owner, *arriving())
        except QuotaExceeded:
            # What was on its way when this was looked up may be stored by now, and would count twice.
            self._owner = await owners.get(name)
            owners.admit(self._owner, *arriving())
