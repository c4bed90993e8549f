"""Reading request bodies: images (multipart or raw) and others, streamed, with content codings decoded."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from litestar import Request
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from progimage.http.codings import codings_of, decoded
from progimage.images.ingest import Arriving, Ingest, UploadTooLarge
from progimage.images.library import Upload
from progimage.problems import CallerGone, Problem
from progimage.storage import Share
from progimage.tracing import span

_T = TypeVar("_T")

FIELD, URL = "data", "url"
SMALL_BODY = 64 * 1024
"""Size limit of JSON bodies that describe one thing, in bytes."""
LARGE_BODY = 1024 * 1024
"""Size limit of JSON bodies with lists or metadata, in bytes."""
_LARGEST_FRAME = 1024 * 1024
"""Number of bytes of a form that may be something other than images."""
_LARGEST_TEXT = 8192
_MOST_TEXTS = 64


@dataclass(frozen=True, slots=True)
class Received:
    """The contents of a request body.

    Attributes:
        uploads: The images.
        texts: Names and values of the form's other fields.
    """

    uploads: list[Upload] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)


async def receive(
    ingest: Ingest,
    request: Request[Any, Any, Any],
    files: ExitStack,
    share: Share,
    filename: str | None = None,
    *,
    hashed: bool = True,
    texts: tuple[str, ...] = (),
    max_bytes: int | None = None,
) -> Received:
    """Receive the images of a request.

    Args:
        ingest: Receives the images.
        request: The request; its body must not have been read.
        files: Removes the files when it is closed.
        share: The request's share of the scratch space.
        filename: File name of a raw body, if known.
        hashed: Whether to compute the images' SHA-256, which storing them needs.
        texts: Names of other fields that a form may have; with `url` among them, images are optional.
        max_bytes: Maximum size of the body in bytes.

    Raises:
        Problem: The body is invalid, or contains no image.
        UploadTooLarge: An image is too large.
        QuotaExceeded: The owner's quota is exceeded.
        ScratchFull: There is no scratch space left.
        CallerGone: The caller disconnected before the end of the body.
    """
    with span("ingest"):
        length = request.headers.get("content-length", "")
        if length.isdigit():
            size = max(0, int(length) - _LARGEST_FRAME)
            await share.expect(size)
            if size <= ingest.max_bytes * ingest.max_parts:  # larger ones are rejected for their size
                await ingest.space.admit(size)
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind == "multipart/form-data":
            form = _Form(ingest, files, share, hashed, texts)
            await form.read(_body(request, max_bytes), options.get("boundary", ""), ingest.max_parts)
            return form.received
        if kind.startswith("multipart/"):
            raise Problem(
                400, "invalid-body", "The multipart body is not a form.", parameter="Content-Type", given=kind,
                allowed=["multipart/form-data", "an image's media type"],
            )  # fmt: skip
        if length.isdigit() and int(length) > ingest.max_bytes:
            raise UploadTooLarge(int(length), ingest.max_bytes)
        arriving = await ingest.new_file(files, share, filename, hashed)
        async for chunk in _body(request, max_bytes):
            await arriving.write(chunk)
        upload = await arriving.finish()
        if not upload.bytes:
            raise _no_data("The body is empty.")
        return Received([upload])


class _Form:
    """A multipart form that is being received.

    Attributes:
        received: The contents received so far.
    """

    def __init__(self, ingest: Ingest, files: ExitStack, share: Share, hashed: bool, texts: tuple[str, ...]) -> None:
        self._ingest, self._files, self._share, self._hashed = ingest, files, share, hashed
        self._known = texts
        self._arriving: Arriving | None = None
        self._text: tuple[str, bytearray] | None = None
        self.received = Received()

    async def read(self, body: AsyncIterator[bytes], boundary: str, max_parts: int) -> None:
        """Read the form to its end.

        Raises:
            Problem: The body is not a valid form, or an image is missing.
        """
        max_bytes = max_parts + (_MOST_TEXTS if self._known else 0)
        try:
            with PushMultipartParser(boundary, max_segment_count=max_bytes) as parser:
                async for chunk in body:
                    for event in parser.parse(chunk):
                        await self._take(event)
        except ParserLimitReached as error:
            raise Problem(
                413,
                "too-many-parts",
                f"The form exceeds a limit: {error}.",
                allowed=f"{max_bytes} parts, small headers",
            ) from error
        except MultipartError as error:
            raise Problem(
                400, "invalid-body", f"The multipart form is invalid or incomplete: {error}.", parameter=FIELD
            ) from error
        uploads = self.received.uploads
        if len(uploads) > max_parts:
            raise Problem(413, "too-many-parts", "Too many images.", given=len(uploads), allowed=max_parts)
        if not uploads and not any(name == URL for name, _ in self.received.texts):
            raise _no_data("The form has no field with this name.")
        if not all(upload.bytes for upload in uploads):
            raise _no_data("A field with this name is empty.")

    async def _take(self, event: Any) -> None:
        if isinstance(event, MultipartSegment):
            if event.name == FIELD:
                self._arriving = await self._ingest.new_file(self._files, self._share, event.filename, self._hashed)
            elif event.name in self._known:
                self._text = event.name, bytearray()
            else:
                raise Problem(
                    400, "unknown-field", "Unknown form field.", parameter=event.name,
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
                    413,
                    "field-too-large",
                    "The field is too large.",
                    parameter=self._text[0],
                    allowed=_LARGEST_TEXT,
                )

    async def _finish(self) -> None:
        if self._arriving:
            self.received.uploads.append(await self._arriving.finish())
        elif self._text:
            name, value = self._text
            try:
                self.received.texts.append((name, value.decode()))
            except UnicodeDecodeError:
                raise Problem(
                    400, "invalid-parameter", "The value is not valid UTF-8.", parameter=name, allowed="text"
                ) from None
        self._arriving = self._text = None


async def read_body(request: Request[Any, Any, Any], max_bytes: int) -> bytes:
    """Read a body that is not an image.

    Args:
        request: The request; its body must not have been read.
        max_bytes: Maximum size of the body in bytes.

    Raises:
        Problem: The body is too large.
        CallerGone: The caller disconnected before the end of the body.
    """
    return b"".join([chunk async for chunk in _body(request, max_bytes)])


async def unless_disconnected(receive: Callable[[], Awaitable[Any]], work: Coroutine[Any, Any, _T]) -> _T:
    """Do some work after the body was read, and cancel it if the caller disconnects.

    Raises:
        CallerGone: The caller disconnected.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise CallerGone
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request[Any, Any, Any], max_bytes: int | None = None) -> AsyncIterator[bytes]:
    """Read a body, and decode its content codings.

    Args:
        request: The request; its body must not have been read.
        max_bytes: Maximum size of the body in bytes, encoded as well as decoded.

    Raises:
        Problem: The body is too large, or can't be decoded.
        CallerGone: The caller disconnected before the end of the body.
    """
    chunks = _bounded(_encoded_body(request), max_bytes)
    for coding in codings_of(request.headers.get("content-encoding", "")):
        chunks = _bounded(decoded(chunks, coding), max_bytes)
    async for chunk in chunks:
        yield chunk


async def _bounded(chunks: AsyncIterator[bytes], max_bytes: int | None) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            raise Problem(413, "body-too-large", "The body is too large.", parameter="body", allowed=max_bytes)
        if chunk:
            yield chunk


async def _encoded_body(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    while True:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        yield message["body"]
        if not message.get("more_body", False):
            return


def _no_data(detail: str) -> Problem:
    allowed = f"an image, as the form field `{FIELD}` or as the body itself"
    return Problem(400, "missing-data", detail, parameter=FIELD, allowed=allowed)
