"""Taking uploads in: a streamed body, multipart or raw, into files of the spool, counted and hashed as it comes."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import Any, TypeVar

from litestar import Request
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from progimage.http.problems import ClientGone, Problem
from progimage.library import Upload
from progimage.storage import Spool

_T = TypeVar("_T")

FIELD = "data"
_WRITE_SIZE = 1024 * 1024
_LONGEST_FILENAME = 200


class Ingest:
    """Takes uploads in.

    Args:
        spool: Where the files go.
        max_bytes: The largest image.
        max_parts: The most images in one request.
    """

    def __init__(self, spool: Spool, max_bytes: int, max_parts: int) -> None:
        """Keep the bounds."""
        self._spool = spool
        self._max_bytes = max_bytes
        self._max_parts = max_parts

    async def receive(
        self, request: Request[Any, Any, Any], files: ExitStack, filename: str | None = None, *, hashed: bool = True
    ) -> list[Upload]:
        """Receive the images of a request.

        Args:
            request: Its body has not been read.
            files: Removes the files when it is closed.
            filename: What a raw body is called, if that is known.
            hashed: They are to be stored, so their SHA-256 is needed.

        Raises:
            Problem: There is no image, or one is too large.
            ClientGone: The client left before the body's end.
        """
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind == "multipart/form-data":
            return await self._receive_multipart(request, files, options.get("boundary", ""), hashed)
        if kind.startswith("multipart/"):
            raise Problem(
                400, "invalid-body", "The body is multipart, but no form.", parameter="Content-Type", given=kind,
                allowed=["multipart/form-data", "an image's media type"],
            )  # fmt: skip
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large(int(length))
        arriving = self._new_file(files, filename, hashed)
        async for chunk in _body(request):
            await arriving.write(chunk)
        upload = await arriving.finish()
        if not upload.bytes:
            raise _no_data("The body is empty.")
        return [upload]

    async def _receive_multipart(
        self, request: Request[Any, Any, Any], files: ExitStack, boundary: str, hashed: bool
    ) -> list[Upload]:
        uploads: list[Upload] = []
        arriving: _Arriving | None = None
        try:
            with PushMultipartParser(boundary, max_segment_count=self._max_parts) as parser:
                async for chunk in _body(request):
                    for event in parser.parse(chunk):
                        if isinstance(event, MultipartSegment):
                            _check_field(event)
                            arriving = self._new_file(files, event.filename, hashed)
                        elif arriving and event is not None:
                            await arriving.write(bytes(event))
                        elif arriving:
                            uploads.append(await arriving.finish())
                            arriving = None
        except ParserLimitReached as error:
            raise Problem(
                413,
                "too-many-parts",
                f"The form goes beyond a limit: {error}.",
                allowed=f"{self._max_parts} parts",
            ) from error
        except MultipartError as error:
            raise Problem(
                400, "invalid-body", f"The body is no whole multipart form: {error}.", parameter=FIELD
            ) from error
        if not uploads:
            raise _no_data("The form has no part with this name.")
        if not all(upload.bytes for upload in uploads):
            raise _no_data("A part with this name is empty.")
        return uploads

    def _new_file(self, files: ExitStack, filename: str | None, hashed: bool) -> "_Arriving":
        path = files.enter_context(self._spool.file(self._spool.incoming))
        return _Arriving(path, clean_filename(filename), self._max_bytes, self._too_large, files, hashed)

    def _too_large(self, size: int) -> Problem:
        return Problem(
            413,
            "upload-too-large",
            f"The image is larger than {self._max_bytes} bytes.",
            parameter=FIELD,
            given=size,
            allowed=self._max_bytes,
        )


async def read_body(request: Request[Any, Any, Any], most: int) -> bytes:
    """Read a body that is not an image.

    Args:
        request: Its body has not been read.
        most: The most bytes to take.

    Raises:
        Problem: It is larger.
        ClientGone: The client left before the body's end.
    """
    body = bytearray()
    async for chunk in _body(request):
        body += chunk
        if len(body) > most:
            raise Problem(413, "body-too-large", "The body is too large.", parameter="body", allowed=most)
    return bytes(body)


class _Arriving:
    """A file that is being received. Writing and hashing are done in a thread, a megabyte at a time."""

    def __init__(
        self,
        path: Any,
        filename: str | None,
        max_bytes: int,
        too_large: Callable[[int], Problem],
        files: ExitStack,
        hashed: bool,
    ) -> None:
        self._path = path
        self._filename = filename
        self._max_bytes = max_bytes
        self._too_large = too_large
        self._file = files.enter_context(path.open("wb"))
        self._hash = hashlib.sha256() if hashed else None
        self._chunks: list[bytes] = []
        self._waiting = 0  # bytes in them
        self._size = 0

    async def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max_bytes:
            raise self._too_large(self._size)
        self._chunks.append(data)
        self._waiting += len(data)
        if self._waiting >= _WRITE_SIZE:
            await self._flush()

    async def finish(self) -> Upload:
        await self._flush()
        await asyncio.to_thread(self._file.close)
        return Upload(self._path, self._hash.hexdigest() if self._hash else "", self._size, self._filename)

    async def _flush(self) -> None:
        chunks, self._chunks, self._waiting = self._chunks, [], 0
        await asyncio.to_thread(self._store, chunks)

    def _store(self, chunks: list[bytes]) -> None:
        for chunk in chunks:
            if self._hash:
                self._hash.update(chunk)
            self._file.write(chunk)


async def unless_disconnected(receive: Callable[[], Awaitable[Any]], work: Coroutine[Any, Any, _T]) -> _T:
    """Do some work after the body was read, and give it up as soon as the client is gone.

    Raises:
        ClientGone: The client closed the connection.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    while True:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if message["body"]:
            yield message["body"]
        if not message.get("more_body", False):
            return


def _check_field(segment: MultipartSegment) -> None:
    if segment.name != FIELD:
        raise Problem(
            400,
            "unknown-field",
            "The form has a field that is not known here.",
            parameter=segment.name,
            allowed=[FIELD],
        )


def _no_data(detail: str) -> Problem:
    allowed = f"an image, as the multipart field {FIELD} or as the body itself"
    return Problem(400, "missing-data", detail, parameter=FIELD, allowed=allowed)


def clean_filename(filename: str | None) -> str | None:
    """Return the last part of a path that a client gave, without what can't be shown, or None if nothing is left."""
    name = PurePosixPath((filename or "").replace("\\", "/")).name
    return "".join(character for character in name if character.isprintable())[:_LONGEST_FILENAME].strip() or None
