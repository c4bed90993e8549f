"""Timeouts for slow callers: for sending a request body, and for reading the response."""

import asyncio
import time
from typing import Any

from litestar.types import Message, Receive, Send

from progimage.problems import Problem


class Timeouts:
    """Applies timeouts to the messages of one request.

    Args:
        receive: Receives a message from the caller.
        send: Sends a message to the caller.
        idle_seconds: Maximum time without progress, in either direction.
        upload_seconds: Maximum time until the body is complete.

    Attributes:
        expired: Whether the caller read nothing of the response for too long.
    """

    __slots__ = ("_deadline", "_idle_seconds", "_is_complete", "_receive", "_send", "expired")

    def __init__(self, receive: Receive, send: Send, idle_seconds: float, upload_seconds: float) -> None:
        self._receive, self._send, self._idle_seconds = receive, send, idle_seconds
        self._deadline = time.monotonic() + upload_seconds
        self._is_complete = False
        self.expired = False

    async def receive(self) -> Any:
        """Receive a message.

        Raises:
            Problem: 408, the body did not arrive in time.
        """
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout(min(self._idle_seconds, self._deadline - time.monotonic())):
                message: Any = await self._receive()
        except TimeoutError:
            raise Problem(
                408, "too-slow", "The request body did not arrive in time.", parameter="body",
                allowed=f"at most {self._idle_seconds:g} seconds without data",
            ) from None  # fmt: skip
        self._is_complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            TimeoutError: The caller did not read a part of the body in time.
        """
        if not message.get("more_body"):
            await self._send(message)
            return
        try:
            async with asyncio.timeout(self._idle_seconds):
                await self._send(message)
        except TimeoutError:
            self.expired = True
            raise
