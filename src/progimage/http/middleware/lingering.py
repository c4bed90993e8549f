"""Reading the rest of a request body after an early response."""

import asyncio
from typing import Any

from litestar.types import Receive

_IDLE_SECONDS = 5.0
_MOST_SECONDS = 30.0


class Body:
    """The body of one request, which is read to its end even if the application doesn't.

    Closing a connection while the caller still sends resets it, and the caller can lose a response that it hasn't read
    yet: a proxy then returns 502 (RFC 9112, section 9.6). So the rest is read and discarded, for 30 seconds at most.

    Args:
        receive: Receives the messages of the request.
        expects_continue: Whether the caller waits for `100 Continue` before it sends (RFC 9110, section 10.1.1).
    """

    __slots__ = ("_ended", "_receive", "_waits")

    def __init__(self, receive: Receive, *, expects_continue: bool) -> None:
        self._receive = receive
        self._waits = expects_continue
        self._ended = False

    async def receive(self) -> Any:
        """Receive the next message."""
        self._waits = False
        message: Any = await self._receive()
        self._ended = not message.get("more_body", False)
        return message

    async def discard_rest(self) -> None:
        """Read and discard the rest of the body, after the response has been sent."""
        if self._waits:
            return
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                while not self._ended:
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await self.receive()
        except TimeoutError:
            return  # the caller had time to read the response
