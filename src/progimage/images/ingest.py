"""Taking images in: into files of the scratch folder, counted and hashed as they come."""

import asyncio
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from progimage.auth import Client, client_name
from progimage.fetching import Fetcher, FetchFailed
from progimage.images.library import Upload
from progimage.storage import DiskSpace, Owner, Room, Share, Spool
from progimage.storage.blobs.chunk_hashes import ChunkHasher

_WRITE_SIZE = 1024 * 1024
_LONGEST_FILENAME = 200


class UploadTooLarge(Exception):
    """An image has more bytes than it may.

    Args:
        given: How many it has at least.
        allowed: How many it may have.
    """

    def __init__(self, given: int, allowed: int) -> None:
        """Keep both."""
        super().__init__(f"The image is larger than {allowed} bytes.")
        self.given, self.allowed = given, allowed


class FetchingDisabled(Exception):
    """Images are not fetched by their URL here.

    Args:
        url: That was asked for.
    """

    def __init__(self, url: str) -> None:
        """Keep the URL."""
        super().__init__("Images are not fetched by their URL here.")
        self.url = url[:200]


class Ingest:
    """Takes uploads in.

    Args:
        spool: Where the files go.
        max_bytes: The largest image.
        max_parts: The most images in one request.
        room: How much may be in the spool at once.
        space: The room on the disk.
        fetcher: Fetches images by their URLs, or None: that is not allowed.

    Attributes:
        max_bytes: The largest image.
        max_parts: The most images in one request.
        space: The room on the disk.
    """

    def __init__(
        self,
        spool: Spool,
        max_bytes: int,
        max_parts: int,
        room: Room,
        space: DiskSpace,
        fetcher: Fetcher | None = None,
    ) -> None:
        """Keep the bounds."""
        self.space = space
        self._room = room
        self._spool = spool
        self.max_bytes = max_bytes
        self.max_parts = max_parts
        self._fetcher = fetcher

    def share(self, files: ExitStack, client: Client, owner: Owner | None = None) -> Share:
        """Return a request's room in the spool, to receive or to fetch with.

        Args:
            files: Gives it back when it is closed; the files that take it have to be in it, too.
            client: Who sends the request.
            owner: Whose images it brings; None: they are not to be stored.
        """
        return files.enter_context(self._room.share(client_name(client), owner))

    async def fetch(self, url: str, client: Client, files: ExitStack, share: Share) -> Upload:
        """Fetch an image by its URL, to be stored.

        Args:
            url: Of the image.
            client: Who wants it.
            files: Removes the file when it is closed.
            share: Of the spool.

        Raises:
            TooManyFetches: The client has as many under way as it may.
            FetchingDisabled: Nothing is fetched here.
            UploadTooLarge: It is too large.
            UrlRefused: The URL is not allowed.
            FetchFailed: The image can't be had.
        """
        fetcher = self.require_fetching(url)
        name = unquote(urlsplit(url).path) if url.isprintable() else None
        arriving = await self.new_file(files, share, name, hashed=True)
        async with fetcher.open(url, client_name(client)) as chunks:
            async for chunk in chunks:
                await arriving.write(chunk)
        upload = await arriving.finish()
        if not upload.bytes:
            raise FetchFailed("The server's answer is empty.")
        return upload

    def require_fetching(self, url: str) -> Fetcher:
        """Return what fetches images by their URLs.

        Raises:
            FetchingDisabled: Nothing is fetched here.
        """
        if self._fetcher is None:
            raise FetchingDisabled(url)
        return self._fetcher

    async def new_file(self, files: ExitStack, share: Share, filename: str | None, hashed: bool) -> "Arriving":
        """Begin a file."""
        await share.begin_image()
        path = files.enter_context(self._spool.file(self._spool.incoming))
        return Arriving(path, clean_filename(filename), self.max_bytes, files, share, self.space, hashed)


class Arriving:
    """A file that is being received. Writing and hashing are done in a thread, a megabyte at a time.

    Args:
        path: The file.
        filename: What its sender calls it, if that is known.
        max_bytes: The largest image.
        files: Closes it.
        share: Of the scratch files' room.
        space: The room on the disk.
        hashed: It is to be stored, so its SHA-256 is needed.
    """

    def __init__(
        self,
        path: Path,
        filename: str | None,
        max_bytes: int,
        files: ExitStack,
        share: Share,
        space: DiskSpace,
        hashed: bool,
    ) -> None:
        """Open the file."""
        self._path, self._share, self._space = path, share, space
        self._filename = filename
        self._max_bytes = max_bytes
        self._file = files.enter_context(path.open("wb"))
        self._hash = ChunkHasher() if hashed else None
        self._chunks: list[bytes] = []
        self._waiting = 0  # bytes in them
        self._size = 0

    async def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            UploadTooLarge: They are too many.
            QuotaExceeded: Their owner may not have so much.
            SpoolFull, StorageFull: There is no room for them.
        """
        self._size += len(data)
        if self._size > self._max_bytes:
            raise UploadTooLarge(self._size, self._max_bytes)
        self._chunks.append(data)
        self._waiting += len(data)
        await self._share.take(len(data))
        if self._waiting >= _WRITE_SIZE:
            await self._flush()

    async def finish(self) -> Upload:
        """Write what is left, and return the file."""
        await self._flush()
        await asyncio.to_thread(self._file.close)
        sha256, chunks = (self._hash.sha256, self._hash.chunks) if self._hash else ("", b"")
        return Upload(self._path, sha256, self._size, self._filename, chunks)

    async def _flush(self) -> None:
        chunks, waiting, self._chunks, self._waiting = self._chunks, self._waiting, [], 0
        await self._space.admit(waiting)
        await asyncio.to_thread(self._store, chunks)

    def _store(self, chunks: list[bytes]) -> None:
        for chunk in chunks:
            if self._hash:
                self._hash.update(chunk)
            self._file.write(chunk)


def clean_filename(filename: str | None) -> str | None:
    """Return the last part of a path that a client gave, without what can't be shown, or None if nothing is left."""
    name = PurePosixPath((filename or "").replace("\\", "/")).name
    return "".join(character for character in name if character.isprintable())[:_LONGEST_FILENAME].strip() or None
