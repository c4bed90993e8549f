"""Accounting of uploads in progress, against their owner's quota and the limit of the scratch folder."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from progimage.storage.database.owners import Owner, Owners, QuotaExceeded


class ScratchFull(Exception):
    """The scratch folder has no space for more uploads.

    Args:
        allowed: Maximum size of all uploads in progress per client, in bytes.
        own: Whether this client has reached its limit; otherwise all clients together have.
    """

    def __init__(self, allowed: int, own: bool) -> None:
        super().__init__(
            f"At most {allowed} bytes of uploads may be in progress at once."
            if own
            else "Too many uploads are in progress."
        )
        self.allowed, self.own = allowed, own


class Room:
    """Space in the scratch folder of one process.

    Args:
        max_bytes: Maximum size of all uploads in progress, in bytes. Each caller may use up to half of it.
        owners: Owners and their quotas.
    """

    def __init__(self, max_bytes: int, owners: Owners) -> None:
        self._max_bytes, self.owners = max_bytes, owners
        self._by_client: Counter[str] = Counter()
        self.by_owner: dict[str, _Arriving] = {}

    @contextmanager
    def share(self, caller: str, owner: Owner | None) -> Iterator["Share"]:
        """Return a context manager with the share of a request, which is given back at the end.

        Args:
            caller: Name of the caller, as in rate limits.
            owner: Owner of the uploaded images; None if they won't be stored.
        """
        share = Share(self, caller, owner)
        try:
            yield share
        finally:
            share.give_back()

    def take(self, caller: str, size: int) -> None:
        """Take some space, or give it back if `size` is negative.

        Raises:
            ScratchFull: There isn't enough space.
        """
        each = self._max_bytes // 2
        if size > 0 and self._by_client[caller] + size > each:
            raise ScratchFull(each, own=True)
        if size > 0 and self._by_client.total() + size > self._max_bytes:
            raise ScratchFull(each, own=False)
        self._by_client[caller] += size
        if not self._by_client[caller]:
            del self._by_client[caller]


@dataclass(slots=True)
class _Arriving:
    """Images and bytes of an owner's uploads in progress."""

    images: int = 0
    bytes: int = 0


class Share:
    """Space taken by one request."""

    def __init__(self, room: Room, caller: str, owner: Owner | None) -> None:
        self._room, self._caller, self._owner = room, caller, owner
        self._images = self._bytes = 0

    async def begin_image(self) -> None:
        """Count another image.

        Raises:
            QuotaExceeded: The owner's quota doesn't allow another image.
        """
        await self._count(1, 0)

    async def take(self, size: int) -> None:
        """Take space for more bytes.

        Raises:
            QuotaExceeded: The owner's quota doesn't allow that many bytes.
            ScratchFull: There isn't enough space.
        """
        self._room.take(self._caller, size)
        self._bytes += size
        await self._count(0, size)

    async def expect(self, size: int) -> None:
        """Reject an image whose announced size is too large.

        Raises:
            QuotaExceeded: The owner's quota doesn't allow that many bytes.
            ScratchFull: There isn't enough space.
        """
        self._room.take(self._caller, size)
        self._room.take(self._caller, -size)
        await self._check(1, size)

    def give_back(self) -> None:
        """Give all space back."""
        self._room.take(self._caller, -self._bytes)
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
        """Check the owner's uploads in progress, plus some more images and bytes, against its quota."""
        if self._owner is None:
            return
        owners, name = self._room.owners, self._owner.name

        def arriving() -> tuple[int, int]:
            all_ = self._room.by_owner.get(name, _Arriving())
            return all_.images + images, all_.bytes + size

        try:
            owners.admit(self._owner, *arriving())
        except QuotaExceeded:
            # Uploads that were in progress when the owner was read may be stored by now, and would count twice.
            self._owner = await owners.get(name)
            owners.admit(self._owner, *arriving())
