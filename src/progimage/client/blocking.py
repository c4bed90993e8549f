"""The client that waits for each answer."""

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
    """Asks a ProgImage service. Its methods may be called from several threads.

    It is closed by `close`, or at the end of a `with`. For what it is made with see `Connecting`.
    """

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Use it for a while."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
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
        """Store an image, and return what is known of it. It is safe on disk then.

        It is sent again if the service is busy or the connection breaks; it is stored once all the same. With a ticket
        it is sent once.

        Args:
            source: A path, bytes, an open file, or a URL from which the service is to fetch it, where it does so.
            filename: What to call it; by default the name of the file.
            visibility: Who may read it: public, signed or key; None: what the service says.
            expires: Until when it is there: a date, or a duration such as "30d"; None: as its owner's images are.
            labels: To find it by.
            metadata: Names and texts to keep with it.
            ticket: What lets in whoever has no key; the `ticket` of its URL.
            damaged: "accept" keeps an image that has lost pixels as far as it can be decoded; else it is refused.

        Raises:
            ServiceError: It is no image, or too large, or not allowed.
            ConnectionFailed: The service can't be reached.
            OSError: The file can't be read.
        """
        call = calls.put(
            source, filename, visibility=visibility, expires=expires, labels=labels, metadata=metadata, ticket=ticket,
            damaged=damaged,
        )  # fmt: skip
        return self._do(call)

    def get(self, reference: str, extension: str | None = None, **transformations: Any) -> bytes:
        """Return the bytes of an original, or of a rendition.

        Args:
            reference: Of the image.
            extension: Of the format to convert to; None: the original.
            transformations: As docs/transformations.md has them; lists are written with commas.

        Raises:
            ServiceError: There is no such image, or a transformation is not what it should be.
            ConnectionFailed: The service can't be reached.
        """
        return self._do(calls.get(reference, extension, transformations))

    def info(self, reference: str) -> Image:
        """Return what is known of an image."""
        return self._do(calls.info(reference))

    def list(self, *, limit: int | None = None, **filters: Any) -> Iterator[Image]:
        """Go through the images of the key's owner, the newest first; pages are asked for as they are needed.

        Args:
            limit: How many at most; None: all.
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
        """Change what is known of an image: `visibility`, `expires`, `labels`, `metadata`, `held`; None removes."""
        return self._do(calls.change(reference, values))

    def delete(self, reference: str, *, permanently: bool = False) -> None:
        """Delete an image; for a while it can be brought back, unless it is permanently."""
        self._do(calls.delete(reference, permanently=permanently))

    def undelete(self, reference: str) -> Image:
        """Bring back an image that was deleted."""
        return self._do(calls.undelete(reference))

    def placeholder(self, reference: str) -> Placeholder:
        """Return what to show until the picture is there."""
        return self._do(calls.placeholder(reference))

    def palette(self, reference: str, colors: int = 6) -> Sequence[Swatch]:
        """Return the dominant colours, at most so many, the most frequent first."""
        return self._do(calls.palette(reference, colors))

    def formats(self) -> Sequence[Format]:
        """Return what the service can do with each format."""
        return self._do(calls.formats())

    def account(self) -> Account:
        """Return what the key's owner has, and may have."""
        return self._do(calls.account())

    def transform(self, source: Source, extension: str, **transformations: Any) -> bytes:
        """Return an image transformed, without storing it; for `source` see `put`, but for URLs."""
        return self._do(calls.transform(source, extension, transformations))

    def renditions(
        self,
        references: Sequence[str],
        extension: str,
        *,
        presets: Sequence[str] = (),
        queries: Sequence[Mapping[str, Any]] = (),
    ) -> Sequence[Rendition]:
        """Have many renditions made: each image in each preset and each query, or only converted, if there are neither.

        Returns:
            For each where it is, or the problem that it has.
        """
        return self._do(calls.renditions(references, extension, presets, queries))

    def import_urls(self, urls: Sequence[str], **options: Any) -> Sequence[Imported]:
        """Have images fetched and stored; `options` are those of `put`. One that fails harms no other."""
        return self._do(calls.import_urls(urls, options))

    def import_in_background(self, urls: Sequence[str], **options: Any) -> Begun:
        """Have images fetched and stored without waiting for it; see `job`."""
        return self._do(calls.import_in_background(urls, options))

    def job(self, id: str) -> Job:
        """Return how far work in the background is."""
        return self._do(calls.job(id))

    def ticket(self, max_bytes: int, *, expires_in: int = 600, **options: Any) -> Ticket:
        """Make a ticket, at whose URL somebody without a key can upload once.

        Args:
            max_bytes: The largest image.
            expires_in: For how many seconds it is valid.
            options: What is settled of the image; see `put`.
        """
        return self._do(calls.ticket(self.root, max_bytes, expires_in, options))

    def sign(self, url: str, *, expires_in: int | None = 3600, method: str = "GET") -> str:
        """Have the service sign a request, and return its URL: whoever has it can make just that request.

        Args:
            url: Of an image or a rendition; see `url`.
            expires_in: For how many seconds it is valid; None: for ever.
            method: GET, HEAD or DELETE.
        """
        signed = self._do(calls.sign(url, expires_in, method))
        return f"{self.root}{signed.url}"

    @contextmanager
    def stream(self, reference: str, extension: str | None = None, **transformations: Any) -> Iterator[Iterator[bytes]]:
        """Lend the bytes of an original or a rendition, piece by piece; see `get`."""
        call = calls.get(reference, extension, transformations)
        response = self._answer(call, stream=True)
        try:
            yield response.iter_bytes(calls.CHUNK)
        except httpx.TransportError as error:
            raise ConnectionFailed(f"The connection broke: {error}") from error
        finally:
            response.close()

    def download(
        self, reference: str, target: str | os.PathLike[str], extension: str | None = None, **transformations: Any
    ) -> Path:
        """Write an original or a rendition to a file, which appears whole or not at all, and return its path.

        Args:
            reference: Of the image.
            target: The file.
            extension: Of the format; None: the original, or, if it is to be transformed, that of the file.
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
        return call.read(self._answer(call))

    def _answer(self, call: Call[Any], *, stream: bool = False) -> httpx.Response:
        """Send a request until it is answered, and return the answer; of a stream, its body has not been read.

        Raises:
            ServiceError: The answer is a problem.
            ConnectionFailed: There is none.
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
