"""Ingest: uploads are written to scratch files, counted and hashed as they arrive."""

import asyncio
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from progimage.auth import Caller, caller_name
from progimage.fetching import Fetcher, FetchFailed
from progimage.images.library import Upload
from progimage.storage import DiskSpace, Owner, Room, ScratchFolder, Share
from progimage.storage.blobs.chunk_hashes import ChunkHasher

_WRITE_SIZE = 1024 * 1024
_LONGEST_FILENAME = 200


class UploadTooLarge(Exception):
    """An uploaded image is too large.

    Args:
        given: Its size so far, in bytes.
        allowed: The largest size, in bytes.
    """

    def __init__(self, given: int, allowed: int) -> None:
        super().__init__(f"The image is larger than {allowed} bytes.")
        self.given, self.allowed = given, allowed


class FetchingDisabled(Exception):
    """This deployment doesn't fetch images by URL.

    Args:
        url: The URL that was given.
    """

    def __init__(self, url: str) -> None:
        super().__init__("This service does not accept uploads by URL.")
        self.url = url[:200]


class Ingest:
    """Receives and fetches uploads.

    Args:
        scratch: Scratch files.
        max_bytes: Size of the largest image, in bytes.
        max_parts: The most images in one request.
        room: How many bytes each caller may have in scratch files.
        space: Free space on the disks.
        fetcher: Fetches images by URL; None: that is not allowed.
    """

    def __init__(
        self,
        scratch: ScratchFolder,
        max_bytes: int,
        max_parts: int,
        room: Room,
        space: DiskSpace,
        fetcher: Fetcher | None = None,
    ) -> None:
        self.space = space
        self._room = room
        self._scratch = scratch
        self.max_bytes = max_bytes
        self.max_parts = max_parts
        self._fetcher = fetcher

    def share(self, files: ExitStack, caller: Caller, owner: Owner | None = None) -> Share:
        """Return a request's share of the scratch space.

        Args:
            files: Gives the share back when it is closed; it also has to close the files that use it.
            caller: Who sends the request.
            owner: Owner of its images; None: they won't be stored.
        """
        return files.enter_context(self._room.share(caller_name(caller), owner))

    async def fetch(self, url: str, caller: Caller, files: ExitStack, share: Share) -> Upload:
        """Fetch an image by URL, to store it.

        Args:
            url: URL of the image.
            caller: Who asks for it.
            files: Removes the file when it is closed.
            share: The request's share of the scratch space.

        Raises:
            TooManyFetches: Too many fetches of the caller are in progress.
            FetchingDisabled: Uploads by URL are not allowed.
            UploadTooLarge: The image is too large.
            UrlRefused: The URL is not allowed.
            FetchFailed: The image can't be fetched.
        """
        fetcher = self.require_fetching(url)
        name = unquote(urlsplit(url).path) if url.isprintable() else None
        arriving = await self.new_file(files, share, name, hashed=True)
        async with fetcher.open(url, caller_name(caller)) as chunks:
            async for chunk in chunks:
                await arriving.write(chunk)
        upload = await arriving.finish()
        if not upload.bytes:
            raise FetchFailed("The response of the server is empty.")
        return upload

    def require_fetching(self, url: str) -> Fetcher:
        """Return the fetcher.

        Raises:
            FetchingDisabled: Uploads by URL are not allowed.
        """
        if self._fetcher is None:
            raise FetchingDisabled(url)
        return self._fetcher

    async def new_file(self, files: ExitStack, share: Share, filename: str | None, hashed: bool) -> "Arriving":
        """Start to receive a file."""
        await share.begin_image()
        path = files.enter_context(self._scratch.file(self._scratch.incoming))
        return Arriving(path, clean_filename(filename), self.max_bytes, files, share, self.space, hashed)


class Arriving:
    """A file that is being received. It is written and hashed in a thread, a mebibyte at a time.

    Args:
        path: Path of the file.
        filename: Name that the sender gave it, if any.
        max_bytes: Size of the largest image, in bytes.
        files: Closes the file.
        share: The request's share of the scratch space.
        space: Free space on the disks.
        hashed: Compute the SHA-256, since the file will be stored.
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
        self._path, self._share, self._space = path, share, space
        self._filename = filename
        self._max_bytes = max_bytes
        self._file = files.enter_context(path.open("wb"))
        self._hash = ChunkHasher() if hashed else None
        self._chunks: list[bytes] = []
        self._waiting = 0  # bytes in the chunks
        self._size = 0

    async def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            UploadTooLarge: The file is too large.
            QuotaExceeded: The owner's quota is exceeded.
            ScratchFull, StorageFull: There is no space left.
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
        """Write the rest, and return the file."""
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
    r"""Return the file name in a path that a caller gave, without unprintable characters; None if nothing is left.

    >>> clean_filename("C:\\photos\\cat.jpg")
    'cat.jpg'
    """
    name = PurePosixPath((filename or "").replace("\\", "/")).name
    return "".join(character for character in name if character.isprintable())[:_LONGEST_FILENAME].strip() or None
