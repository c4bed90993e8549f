"""Taking uploads in: a streamed body, multipart or raw, into files of the spool, counted and hashed as it comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

from litestar import Request
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from progimage.access import Client, Fetcher, client_name
from progimage.http.codings import codings_of, decoded
from progimage.http.problems import ClientGone, Problem
from progimage.library import Upload
from progimage.storage import DiskSpace, Owner, Room, Share, Spool
from progimage.storage.chunk_hashes import ChunkHasher
from progimage.tracing import span

_T = TypeVar("_T")

FIELD, URL = "data", "url"
_WRITE_SIZE = 1024 * 1024
_LARGEST_FRAME = 1024 * 1024
"""Of a form, so many bytes may be something else than images."""
_LONGEST_FILENAME = 200
_LARGEST_TEXT = 8192
_MOST_TEXTS = 64


@dataclass(frozen=True, slots=True)
class Received:
    """What a request had in its body.

    Attributes:
        uploads: The images.
        texts: The names and values of the form's other fields.
    """

    uploads: list[Upload] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)


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
        self._max_parts = max_parts
        self._fetcher = fetcher

    def share(self, files: ExitStack, client: Client, owner: Owner | None = None) -> Share:
        """Return a request's room in the spool, to receive or to fetch with.

        Args:
            files: Gives it back when it is closed; the files that take it have to be in it, too.
            client: Who sends the request.
            owner: Whose images it brings; None: they are not to be stored.
        """
        return files.enter_context(self._room.share(client_name(client), owner))

    async def receive(
        self,
        request: Request[Any, Any, Any],
        files: ExitStack,
        share: Share,
        filename: str | None = None,
        *,
        hashed: bool = True,
        texts: tuple[str, ...] = (),
        most: int | None = None,
    ) -> Received:
        """Receive the images of a request.

        Args:
            request: Its body has not been read.
            files: Removes the files when it is closed.
            share: Of the spool.
            filename: What a raw body is called, if that is known.
            hashed: They are to be stored, so their SHA-256 is needed.
            texts: Other fields that a form may have; with `url` among them, it needs no image.
            most: The most bytes that the body may have.

        Raises:
            Problem: There is no image, or one is too large.
            QuotaExceeded: Their owner may not have so much.
            SpoolFull: There is no room for them.
            ClientGone: The client left before the body's end.
        """
        with span("ingest"):
            length = request.headers.get("content-length", "")
            if length.isdigit():
                size = max(0, int(length) - _LARGEST_FRAME)
                await share.expect(size)
                if size <= self.max_bytes * self._max_parts:  # else it is refused for its size
                    await self.space.admit(size)
            kind, options = parse_options_header(request.headers.get("content-type", ""))
            if kind == "multipart/form-data":
                form = _Form(self, files, share, hashed, texts)
                await form.read(_body(request, most), options.get("boundary", ""), self._max_parts)
                return form.received
            if kind.startswith("multipart/"):
                raise Problem(
                    400, "invalid-body", "The body is multipart, but no form.", parameter="Content-Type", given=kind,
                    allowed=["multipart/form-data", "an image's media type"],
                )  # fmt: skip
            if length.isdigit() and int(length) > self.max_bytes:
                raise self.too_large(int(length))
            arriving = await self.new_file(files, share, filename, hashed)
            async for chunk in _body(request, most):
                await arriving.write(chunk)
            upload = await arriving.finish()
            if not upload.bytes:
                raise _no_data("The body is empty.")
            return Received([upload])

    async def fetch(self, url: str, client: Client, files: ExitStack, share: Share) -> Upload:
        """Fetch an image by its URL, to be stored.

        Args:
            url: Of the image.
            client: Who wants it.
            files: Removes the file when it is closed.
            share: Of the spool.

        Raises:
            TooManyFetches: The client has as many under way as it may.
            Problem: It is too large, or nothing is fetched here.
            UrlRefused: The URL is not allowed.
            FetchFailed: The image can't be had.
        """
        if self._fetcher is None:
            self.refuse_url(url)
        name = unquote(urlsplit(url).path) if url.isprintable() else None
        arriving = await self.new_file(files, share, name, hashed=True)
        async with self._fetcher.open(url, client_name(client)) as chunks:
            async for chunk in chunks:
                await arriving.write(chunk)
        upload = await arriving.finish()
        if not upload.bytes:
            raise Problem(422, "fetch-failed", "The server's answer is empty.", parameter=URL, given=url[:200])
        return upload

    def refuse_url(self, url: str) -> NoReturn:
        """Say that nothing is fetched here.

        Raises:
            Problem: 403.
        """
        raise Problem(
            403, "url-not-allowed", "Images are not fetched by their URL here.", parameter=URL, given=url[:200],
            allowed="the image itself",
        )  # fmt: skip

    async def new_file(self, files: ExitStack, share: Share, filename: str | None, hashed: bool) -> "_Arriving":
        """Begin a file."""
        await share.begin_image()
        path = files.enter_context(self._spool.file(self._spool.incoming))
        return _Arriving(
            path, clean_filename(filename), self.max_bytes, self.too_large, files, share, self.space, hashed
        )

    def too_large(self, size: int) -> Problem:
        """Return the problem of an image that has at least so many bytes."""
        return Problem(
            413,
            "upload-too-large",
            f"The image is larger than {self.max_bytes} bytes.",
            parameter=FIELD,
            given=size,
            allowed=self.max_bytes,
        )


class _Form:
    """A multipart form that is being received.

    Attributes:
        received: What there was in it so far.
    """

    def __init__(self, ingest: Ingest, files: ExitStack, share: Share, hashed: bool, texts: tuple[str, ...]) -> None:
        self._ingest, self._files, self._share, self._hashed = ingest, files, share, hashed
        self._known = texts
        self._arriving: _Arriving | None = None
        self._text: tuple[str, bytearray] | None = None
        self.received = Received()

    async def read(self, body: AsyncIterator[bytes], boundary: str, max_parts: int) -> None:
        """Read the form to its end.

        Raises:
            Problem: It is no form, or has no image where it needs one.
        """
        most = max_parts + (_MOST_TEXTS if self._known else 0)
        try:
            with PushMultipartParser(boundary, max_segment_count=most) as parser:
                async for chunk in body:
                    for event in parser.parse(chunk):
                        await self._take(event)
        except ParserLimitReached as error:
            raise Problem(
                413,
                "too-many-parts",
                f"The form goes beyond a limit: {error}.",
                allowed=f"{most} parts, small headers",
            ) from error
        except MultipartError as error:
            raise Problem(
                400, "invalid-body", f"The body is no whole multipart form: {error}.", parameter=FIELD
            ) from error
        uploads = self.received.uploads
        if len(uploads) > max_parts:
            raise Problem(413, "too-many-parts", "There are too many images.", given=len(uploads), allowed=max_parts)
        if not uploads and not any(name == URL for name, _ in self.received.texts):
            raise _no_data("The form has no part with this name.")
        if not all(upload.bytes for upload in uploads):
            raise _no_data("A part with this name is empty.")

    async def _take(self, event: Any) -> None:
        if isinstance(event, MultipartSegment):
            if event.name == FIELD:
                self._arriving = await self._ingest.new_file(self._files, self._share, event.filename, self._hashed)
            elif event.name in self._known:
                self._text = event.name, bytearray()
            else:
                raise Problem(
                    400, "unknown-field", "The form has a field that is not known here.", parameter=event.name,
                    allowed=[FIELD, *self._known],
                )  # fmt: skip
        elif event is None:
            await self._finish()
        elif self._arriving:
            await self._arriving.write(bytes(event))
        elif self._text:
            self._text[1].extend(event)
            if len(self._text[1]) > _LARGEST_TEXT:
                raise Problem(
                    413, "field-too-large", "A field is too large.", parameter=self._text[0], allowed=_LARGEST_TEXT
                )

    async def _finish(self) -> None:
        if self._arriving:
            self.received.uploads.append(await self._arriving.finish())
        elif self._text:
            name, value = self._text
            try:
                self.received.texts.append((name, value.decode()))
            except UnicodeDecodeError:
                raise Problem(400, "invalid-parameter", "It is no UTF-8.", parameter=name, allowed="text") from None
        self._arriving = self._text = None


async def read_body(request: Request[Any, Any, Any], most: int) -> bytes:
    """Read a body that is not an image.

    Args:
        request: Its body has not been read.
        most: The most bytes to take.

    Raises:
        Problem: It is larger.
        ClientGone: The client left before the body's end.
    """
    return b"".join([chunk async for chunk in _body(request, most)])


class _Arriving:
    """A file that is being received. Writing and hashing are done in a thread, a megabyte at a time."""

    def __init__(
        self,
        path: Any,
        filename: str | None,
        max_bytes: int,
        too_large: Callable[[int], Problem],
        files: ExitStack,
        share: Share,
        space: DiskSpace,
        hashed: bool,
    ) -> None:
        self._path, self._share, self._space = path, share, space
        self._filename = filename
        self._max_bytes = max_bytes
        self._too_large = too_large
        self._file = files.enter_context(path.open("wb"))
        self._hash = ChunkHasher() if hashed else None
        self._chunks: list[bytes] = []
        self._waiting = 0  # bytes in them
        self._size = 0

    async def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max_bytes:
            raise self._too_large(self._size)
        self._chunks.append(data)
        self._waiting += len(data)
        await self._share.take(len(data))
        if self._waiting >= _WRITE_SIZE:
            await self._flush()

    async def finish(self) -> Upload:
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


async def _body(request: Request[Any, Any, Any], most: int | None = None) -> AsyncIterator[bytes]:
    """Read a body, without its content codings.

    Args:
        request: Its body has not been read.
        most: The most bytes to take, encoded or not.

    Raises:
        Problem: It is larger, or can't be decoded.
        ClientGone: The client left before the body's end.
    """
    chunks = _bounded(_encoded_body(request), most)
    for coding in codings_of(request.headers.get("content-encoding", "")):
        chunks = _bounded(decoded(chunks, coding), most)
    async for chunk in chunks:
        yield chunk


async def _bounded(chunks: AsyncIterator[bytes], most: int | None) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if most is not None and size > most:
            raise Problem(413, "body-too-large", "The body is too large.", parameter="body", allowed=most)
        if chunk:
            yield chunk


async def _encoded_body(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    while True:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message["body"]
        if not message.get("more_body", False):
            return


def _no_data(detail: str) -> Problem:
    allowed = f"an image, as the multipart field {FIELD} or as the body itself"
    return Problem(400, "missing-data", detail, parameter=FIELD, allowed=allowed)


def clean_filename(filename: str | None) -> str | None:
    """Return the last part of a path that a client gave, without what can't be shown, or None if nothing is left."""
    name = PurePosixPath((filename or "").replace("\\", "/")).name
    return "".join(character for character in name if character.isprintable())[:_LONGEST_FILENAME].strip() or None
