"""Client for asyncio, with the same methods as `Client`."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from progimage.client import calls
from progimage.client.calls import Body, Call, Source
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


class AsyncClient(Connecting):
    """Client for a ProgImage service that doesn't block the event loop.

    Close it with `close` or use it in `async with`. See `Connecting` for its parameters.
    """

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    async def put(
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
        """See `Client.put`."""
        call = calls.put(
            source, filename, visibility=visibility, expires=expires, labels=labels, metadata=metadata, ticket=ticket,
            damaged=damaged,
        )  # fmt: skip
        return await self._do(call)

    async def get(self, reference: str, extension: str | None = None, **transformations: Any) -> bytes:
        """See `Client.get`."""
        return await self._do(calls.get(reference, extension, transformations))

    async def info(self, reference: str) -> Image:
        """See `Client.info`."""
        return await self._do(calls.info(reference))

    async def list(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[Image]:
        """See `Client.list`."""
        cursor, left = None, limit
        while left is None or left > 0:
            page = await self._do(calls.page(filters, cursor, left))
            for image in page.images[:left]:
                yield image
            cursor, left = page.next, None if left is None else left - len(page.images)
            if cursor is None:
                return

    async def change(self, reference: str, **values: Any) -> Image:
        """See `Client.change`."""
        return await self._do(calls.change(reference, values))

    async def delete(self, reference: str, *, permanently: bool = False) -> None:
        """See `Client.delete`."""
        await self._do(calls.delete(reference, permanently=permanently))

    async def undelete(self, reference: str) -> Image:
        """See `Client.undelete`."""
        return await self._do(calls.undelete(reference))

    async def placeholder(self, reference: str) -> Placeholder:
        """See `Client.placeholder`."""
        return await self._do(calls.placeholder(reference))

    async def palette(self, reference: str, colors: int = 6) -> Sequence[Swatch]:
        """See `Client.palette`."""
        return await self._do(calls.palette(reference, colors))

    async def formats(self) -> Sequence[Format]:
        """See `Client.formats`."""
        return await self._do(calls.formats())

    async def account(self) -> Account:
        """See `Client.account`."""
        return await self._do(calls.account())

    async def transform(self, source: Source, extension: str, **transformations: Any) -> bytes:
        """See `Client.transform`."""
        return await self._do(calls.transform(source, extension, transformations))

    async def renditions(
        self,
        references: Sequence[str],
        extension: str,
        *,
        presets: Sequence[str] = (),
        queries: Sequence[Mapping[str, Any]] = (),
    ) -> Sequence[Rendition]:
        """See `Client.renditions`."""
        return await self._do(calls.renditions(references, extension, presets, queries))

    async def import_urls(self, urls: Sequence[str], **options: Any) -> Sequence[Imported]:
        """See `Client.import_urls`."""
        return await self._do(calls.import_urls(urls, options))

    async def import_in_background(self, urls: Sequence[str], **options: Any) -> Begun:
        """See `Client.import_in_background`."""
        return await self._do(calls.import_in_background(urls, options))

    async def job(self, id: str) -> Job:
        """See `Client.job`."""
        return await self._do(calls.job(id))

    async def ticket(self, max_bytes: int, *, expires_in: int = 600, **options: Any) -> Ticket:
        """See `Client.ticket`."""
        return await self._do(calls.ticket(self.root, max_bytes, expires_in, options))

    async def sign(self, url: str, *, expires_in: int | None = 3600, method: str = "GET") -> str:
        """See `Client.sign`."""
        signed = await self._do(calls.sign(url, expires_in, method))
        return f"{self.root}{signed.url}"

    @asynccontextmanager
    async def stream(
        self, reference: str, extension: str | None = None, **transformations: Any
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Client.stream`."""
        call = calls.get(reference, extension, transformations)
        response = await self._response(call, stream=True)
        try:
            yield response.aiter_bytes(calls.CHUNK)
        except httpx.TransportError as error:
            raise ConnectionFailed(f"The connection was lost: {error}") from error
        finally:
            await response.aclose()

    async def download(
        self, reference: str, target: str | os.PathLike[str], extension: str | None = None, **transformations: Any
    ) -> Path:
        """See `Client.download`."""
        path, part, extension = calls.download_paths(target, extension, transformations)
        try:
            async with self.stream(reference, extension, **transformations) as chunks:
                with part.open("wb") as file:
                    async for chunk in chunks:
                        await asyncio.to_thread(file.write, chunk)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx.AsyncClient(**options)

    async def _do(self, call: Call[T]) -> T:
        return call.read(await self._response(call))

    async def _response(self, call: Call[Any], *, stream: bool = False) -> httpx.Response:
        """See `Client._response`."""
        attempt = 0
        while True:
            attempt += 1
            try:
                response = await self._send(call, stream=stream)
            except httpx.TransportError as error:
                pause = self._pause(call, attempt, None)
                if pause is None:
                    raise ConnectionFailed(f"{self.root} can't be reached: {error or type(error).__name__}") from error
            else:
                pause = self._pause(call, attempt, response)
                if pause is None:
                    calls.check(response)
                    return response
            await asyncio.sleep(pause)

    async def _send(self, call: Call[Any], *, stream: bool) -> httpx.Response:
        content = _chunks(call.body) if call.body else call.encoded_json()
        request = self._http.build_request(
            call.method, call.path, params=list(call.params), headers=call.request_headers(), content=content
        )
        response = await self._http.send(request, stream=True)
        try:
            if not (stream and response.is_success):
                await response.aread()
        except BaseException:
            await response.aclose()
            raise
        return response


async def _chunks(body: Body) -> AsyncIterator[bytes]:
    chunks = body.chunks()
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk
