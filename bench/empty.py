"""The limit for our delivery: an ASGI application that does nothing but send bytes it has, on the same server."""

import os
from pathlib import Path
from typing import Any

_BODY = Path(os.environ["BENCH_FILE"]).read_bytes()
_HEADERS = [(b"content-type", b"image/jpeg"), (b"content-length", str(len(_BODY)).encode()), (b"etag", b'"empty"')]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Send the bytes, or to a conditional request that they are known."""
    if scope["type"] != "http":
        return
    known = any(name == b"if-none-match" for name, _ in scope["headers"])
    headers = _HEADERS[2:] if known else _HEADERS
    await send({"type": "http.response.start", "status": 304 if known else 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if known else _BODY, "more_body": False})
