"""Blocking client."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from progimage.client import calls
from progimage.client.calls import Call, Source
from progimage.client.connecting import Connecting
from progimage.client.errors import ConnectionFailed
from progimage.client.results import (
    Account,
    Begun,
    Format,
    Image,
    Imported,
    Job,
    Placeholder,
    Rendition,
    Swatch,
    Ticket,
)

T = TypeVar("T")


class Client(Connecting):
    """Client for a ProgImage service. It is thread-safe.

    Close it with `close` or use it in `with`. See `Connecting` for its parameters.
    """

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def put(
        self,
        source: Source,
        *,
        filename: str | None = None,
        visibility: str | None = None,
        expires: str | date | None = None,
        labels: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
        ticket: str | None = None,
        damaged: str | None = None,
    ) -> Image:
        """Store an image and return its description. When this returns, the image is durable.

        The request is repeated if the service is busy or the connection is lost; the image is still stored only once.
        With a ticket, the request is sent once.

        Args:
            source: A path, bytes, an open file, or a URL that the service fetches, if it allows that.
            filename: Name of the image. Default: the name of the file.
            visibility: Who may read it: public, signed or key. Default: the service's default.
            expires: When it expires: a date, or a duration such as "30d". Default: the owner's retention.
            labels: Labels to find it by.
            metadata: Names and texts to store with it.
            ticket: Upload ticket for callers without a key: the `ticket` parameter of its URL.
            damaged: "accept" accepts an image that lost pixels, as far as it can be decoded. By default it is rejected.

        Raises:
            ServiceError: The file isn't an image, is too large, or isn't allowed.
            ConnectionFailed: The service can't be reached.
            OSError: The file can't be read.
        """
        call = calls.put(
            source, filename, visibility=visibility, expires=expires, labels=labels, metadata=metadata, ticket=ticket,
            damaged=damaged,
        )  # fmt: skip
        return self._do(call)

    def get(self, reference: str, extension: str | None = None, **transformations: Any) -> bytes:
        """Return the bytes of an original or a rendition.

        Args:
            reference: Reference of the image.
            extension: Extension of the format to convert to. None returns the original.
            transformations: Parameters from docs/transformations.md; lists are joined with commas.

        Raises:
            ServiceError: There is no such image, or a transformation is invalid.
            ConnectionFailed: The service can't be reached.
        """
        return self._do(calls.get(reference, extension, transformations))

    def info(self, reference: str) -> Image:
        """Return the description of an image."""
        return self._do(calls.info(reference))

    def list(self, *, limit: int | None = None, **filters: Any) -> Iterator[Image]:
        """Iterate over the images of the key's owner, newest first. Pages are requested as needed.

        Args:
            limit: Maximum number of images; None for all.
            filters: `format`, `sha256`, `min_bytes`, `max_bytes`, `after`, `before`, `labels`, `deleted`, `owner`.
        """
        cursor, left = None, limit
        while left is None or left > 0:
            page = self._do(calls.page(filters, cursor, left))
            yield from page.images[:left]
            cursor, left = page.next, None if left is None else left - len(page.images)
            if cursor is None:
                return

    def change(self, reference: str, **values: Any) -> Image:
        """Change `visibility`, `expires`, `labels`, `metadata` or `held` of an image. None removes a value."""
        return self._do(calls.change(reference, values))

    def delete(self, reference: str, *, permanently: bool = False) -> None:
        """Delete an image. It can be restored for a while, unless it is deleted permanently."""
        self._do(calls.delete(reference, permanently=permanently))

    def undelete(self, reference: str) -> Image:
        """Restore a deleted image."""
        return self._do(calls.undelete(reference))

    def placeholder(self, reference: str) -> Placeholder:
        """Return placeholders to show until the image has loaded."""
        return self._do(calls.placeholder(reference))

    def palette(self, reference: str, colors: int = 6) -> Sequence[Swatch]:
        """Return the dominant colours, most frequent first.

        Args:
            reference: Reference of the image.
            colors: Maximum number of colours.
        """
        return self._do(calls.palette(reference, colors))

    def formats(self) -> Sequence[Format]:
        """Return all formats and their capabilities."""
        return self._do(calls.formats())

    def account(self) -> Account:
        """Return the usage and quotas of the key's owner."""
        return self._do(calls.account())

    def transform(self, source: Source, extension: str, **transformations: Any) -> bytes:
        """Return a transformed image without storing it. `source` is as in `put`, except URLs."""
        return self._do(calls.transform(source, extension, transformations))

    def renditions(
        self,
        references: Sequence[str],
        extension: str,
        *,
        presets: Sequence[str] = (),
        queries: Sequence[Mapping[str, Any]] = (),
    ) -> Sequence[Rendition]:
        """Make renditions of several images: one per image and preset or query, or only converted if there are none.

        Returns:
            For each rendition its URL, or its problem.
        """
        return self._do(calls.renditions(references, extension, presets, queries))

    def import_urls(self, urls: Sequence[str], **options: Any) -> Sequence[Imported]:
        """Let the service fetch and store images. `options` are those of `put`. A failure doesn't affect the others."""
        return self._do(calls.import_urls(urls, options))

    def import_in_background(self, urls: Sequence[str], **options: Any) -> Begun:
        """Let the service fetch and store images in the background; see `job`."""
        return self._do(calls.import_in_background(urls, options))

    def job(self, id: str) -> Job:
        """Return the state of a background job."""
        return self._do(calls.job(id))

    def ticket(self, max_bytes: int, *, expires_in: int = 600, **options: Any) -> Ticket:
        """Create an upload ticket: a client without a key can upload one image to its URL.

        Args:
            max_bytes: Maximum size of the image, in bytes.
            expires_in: Lifetime in seconds.
            options: Options of the image, which the uploader can't change; see `put`.
        """
        return self._do(calls.ticket(self.root, max_bytes, expires_in, options))

    def sign(self, url: str, *, expires_in: int | None = 3600, method: str = "GET") -> str:
        """Let the service sign a request, and return its URL. Anyone with the URL can make exactly this request.

        Args:
            url: URL of an image or a rendition; see `url`.
            expires_in: Lifetime in seconds; None for no limit.
            method: GET, HEAD or DELETE.
        """
        signed = self._do(calls.sign(url, expires_in, method))
        return f"{self.root}{signed.url}"

    @contextmanager
    def stream(self, reference: str, extension: str | None = None, **transformations: Any) -> Iterator[Iterator[bytes]]:
        """Return a context manager with an iterator over the bytes of an original or a rendition; see `get`."""
        call = calls.get(reference, extension, transformations)
        response = self._response(call, stream=True)
        try:
            yield response.iter_bytes(calls.CHUNK)
        except httpx.TransportError as error:
            raise ConnectionFailed(f"The connection was lost: {error}") from error
        finally:
            response.close()

    def download(
        self, reference: str, target: str | os.PathLike[str], extension: str | None = None, **transformations: Any
    ) -> Path:
        """Write an original or a rendition to a file and return its path. The file appears only when it is complete.

        Args:
            reference: Reference of the image.
            target: Path of the file.
            extension: Extension of the format. Default: the original; with transformations, the extension of `target`.
            transformations: See `get`.
        """
        path, part, extension = calls.download_paths(target, extension, transformations)
        try:
            with self.stream(reference, extension, **transformations) as chunks, part.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx.Client(**options)

    def _do(self, call: Call[T]) -> T:
        return call.read(self._response(call))

    def _response(self, call: Call[Any], *, stream: bool = False) -> httpx.Response:
        """Send a request, repeatedly if needed, and return the response. The body of a stream isn't read yet.

        Raises:
            ServiceError: The response is a problem.
            ConnectionFailed: There is no response.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._send(call, stream=stream)
            except httpx.TransportError as error:
                pause = self._pause(call, attempt, None)
                if pause is None:
                    raise ConnectionFailed(f"{self.root} can't be reached: {error or type(error).__name__}") from error
            else:
                pause = self._pause(call, attempt, response)
                if pause is None:
                    calls.check(response)
                    return response
            time.sleep(pause)

    def _send(self, call: Call[Any], *, stream: bool) -> httpx.Response:
        content = call.body.chunks() if call.body else call.encoded_json()
        request = self._http.build_request(
            call.method, call.path, params=list(call.params), headers=call.request_headers(), content=content
        )
        response = self._http.send(request, stream=True)
        try:
            if not (stream and response.is_success):
                response.read()
        except BaseException:
            response.close()
            raise
        return response
