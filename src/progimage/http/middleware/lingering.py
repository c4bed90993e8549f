"""What is left of a body when its request has been answered early."""

import asyncio
from typing import Any

from litestar.types import Receive

_IDLE_SECONDS = 5.0
_MOST_SECONDS = 30.0


class Body:
    """The body of one request, which is read to its end even where the application has not.

    A connection that is closed while its client still sends is reset, and a reset takes the answer away from a client
    that has not read it yet: a proxy then answers 502 (RFC 9112, section 9.6). So the rest is read and thrown away,
    for half a minute at most.

    Args:
        receive: Receives the messages of the request.
        expects_continue: The client sends nothing before it is told to (RFC 9110, section 10.1.1).
    """

    __slots__ = ("_ended", "_receive", "_waits")

    def __init__(self, receive: Receive, *, expects_continue: bool) -> None:
        """Begin with nothing read."""
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
        """Read what is left, now that the answer has been sent."""
        if self._waits:
            return
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                while not self._ended:
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await self.receive()
        except TimeoutError:
            return  # it has had the time to read its answer
