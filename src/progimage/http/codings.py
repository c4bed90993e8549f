"""Decoding bodies with a Content-Encoding (RFC 9110, section 8.4) as a stream."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable

from progimage.problems import Problem

TAKEN = "gzip, deflate"
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's `wbits` for each coding; deflate is the format of RFC 1950."""
_MOST_CODINGS = 2
_LOOKED_AT = (b"content-encoding", b"content-type")
_PIECE = 64 * 1024
"""Number of bytes to decode at once, before limits are checked and other tasks get their turn."""


def codings_of(header: str) -> list[str]:
    """Return the codings of a body, in the order in which to decode them.

    Raises:
        Problem: 415, one of them is unsupported.
    """
    codings = [coding.strip().lower() for coding in header.split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if len(codings) > _MOST_CODINGS or not set(codings) <= set(_WINDOWS):
        raise Problem(
            415, "unsupported-encoding", "The content encoding is not supported.",
            parameter="Content-Encoding", given=header[:100], allowed=TAKEN, headers={"accept-encoding": TAKEN},
        )  # fmt: skip
    return codings[::-1]


def refusal_of_json(headers: Iterable[tuple[bytes, bytes]]) -> Problem | None:
    """Return the problem of a JSON body that has a content coding: none is supported, since such bodies are small."""
    found = {name: value.decode("latin-1").lower() for name, value in headers if name in _LOOKED_AT}
    coding = found.get(b"content-encoding", "").strip()
    if coding in ("", "identity") or not found.get(b"content-type", "").startswith("application/json"):
        return None
    return Problem(
        415, "unsupported-encoding", "JSON bodies must not have a content encoding.", parameter="Content-Encoding",
        given=coding[:100], allowed="identity", headers={"accept-encoding": "identity"},
    )  # fmt: skip


async def decoded(body: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    """Decode one coding.

    Args:
        body: The encoded bytes.
        coding: A coding returned by `codings_of`.

    Raises:
        Problem: 400, the bytes are not encoded like this, or truncated.
    """
    decoder = zlib.decompressobj(_WINDOWS[coding])
    begun = False
    try:
        async for chunk in body:
            while chunk:
                if decoder.eof:  # gzip can have several members (RFC 1952, section 2.2)
                    decoder = zlib.decompressobj(_WINDOWS[coding])
                begun = True
                yield decoder.decompress(chunk, _PIECE)
                chunk = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
                await asyncio.sleep(0)
        while begun and not decoder.eof:
            rest = decoder.decompress(decoder.unconsumed_tail, _PIECE)
            if not rest:
                break
            yield rest
    except zlib.error as error:
        raise _corrupt(coding, str(error)) from None
    if begun and not decoder.eof:
        raise _corrupt(coding, "it is truncated")


def _corrupt(coding: str, why: str) -> Problem:
    return Problem(
        400, "invalid-body", f"The body can't be decoded: {why}.", parameter="Content-Encoding", given=coding
    )
