"""Responses with several results, as a stream of NDJSON or a ZIP."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request
from litestar.types import Receive, Scope, Send
from zipstream import ZipStream

from progimage.http.bodies import unless_disconnected
from progimage.http.responses.problems import to_problem
from progimage.problems import CallerGone, Problem

NDJSON, ZIP = "application/x-ndjson", "application/zip"
RESULTS = "results.ndjson"
"""The file in a ZIP that lists the results of all items."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one item.

    Attributes:
        document: The JSON document that describes it.
        path: Its file, if it has one.
        name: Name of the file in a ZIP.
        files: Removes the file when it is closed.
    """

    document: dict[str, Any]
    path: Path | None = None
    name: str = ""
    files: ExitStack = field(default_factory=ExitStack)


Work = Callable[[], Coroutine[Any, Any, Result]]


async def results(works: Sequence[tuple[dict[str, Any], Work]], at_once: int) -> AsyncIterator[Result]:
    """Process several items, a few at once, and yield the results in the order of the items.

    Args:
        works: For each item, the members that its document always has, and the work. A failure becomes a result with a
            problem.
        at_once: Maximum number of items in progress.
    """
    waiting = deque(works)
    running: deque[asyncio.Task[Result]] = deque()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(asyncio.create_task(_attempt(*waiting.popleft())))
            yield await running[0]
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(outcome, Result):
                outcome.files.close()


async def _attempt(item: dict[str, Any], work: Work) -> Result:
    try:
        result = await work()
    except Exception as error:
        problem = to_problem(error).body()
        return Result({**item, "status": problem["status"], "problem": problem})
    return Result({**item, "status": 200, **result.document}, result.path, result.name, result.files)


def preferred(request: Request[Any, Any, Any], usual: str) -> str:
    """Return the media type of the stream that a request prefers.

    Raises:
        Problem: 406, the request accepts neither.
    """
    kinds = [usual, ZIP if usual == NDJSON else NDJSON]
    chosen = request.accept.best_match(kinds) if request.headers.get("accept") else usual
    if chosen is None:
        raise Problem(
            406, "not-acceptable", "`Accept` doesn't allow a stream of results.", parameter="Accept",
            given=request.headers["accept"], allowed=kinds,
        )  # fmt: skip
    return chosen


async def as_ndjson(items: AsyncIterator[Result], describe: Callable[[Result], dict[str, Any]]) -> AsyncIterator[bytes]:
    """Write one JSON document per line, each as soon as it is ready.

    Args:
        items: The results.
        describe: Returns the document of a result; called in a thread, so it may read the file.
    """
    async for result in items:
        with result.files:
            yield msgspec.json.encode(await asyncio.to_thread(describe, result)) + b"\n"


async def as_zip(items: AsyncIterator[Result]) -> AsyncIterator[bytes]:
    """Write a ZIP of the files, uncompressed, with the results of all items at its end."""
    archive = ZipStream()
    lines = []
    async for result in items:
        with result.files:
            document = result.document
            if result.path:
                document = {**document, "file": result.name}
                archive.add_path(result.path, result.name)
                async for chunk in _in_thread(archive.all_files()):
                    yield chunk
            lines.append(msgspec.json.encode(document) + b"\n")
    archive.add(b"".join(lines), RESULTS)
    async for chunk in _in_thread(archive.finalize()):
        yield chunk


async def _in_thread(chunks: Any) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(next, chunks, None):
        yield chunk


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """An ASGI application that responds with a stream, and stops when the caller disconnects.

    Attributes:
        chunks: The bytes.
        media_type: Media type of the stream.
        files: Closed at the end.
        headers: Additional headers.
    """

    chunks: AsyncIterator[bytes]
    media_type: str
    files: ExitStack
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond."""
        with self.files:
            try:
                await unless_disconnected(receive, self._send(send))
            except CallerGone:
                return

    async def _send(self, send: Send) -> None:
        headers = [
            (b"content-type", self.media_type.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self.chunks) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
