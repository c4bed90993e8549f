"""Resolving host names as the operating system does, in dedicated threads."""

import asyncio
import socket
import threading
from collections import Counter

_THREADS = 64
_THREADS_EACH = 4


class Resolver:
    """Resolves names with getaddrinfo(3), which uses /etc/hosts and the system's other sources.

    A call can't be interrupted and can take minutes. So each lookup runs in a thread of its own, and the threads are
    limited per caller: slow lookups of one caller don't block those of others.
    """

    def __init__(self) -> None:
        self._busy: Counter[str] = Counter()

    async def resolve(self, host: str, port: int, caller: str) -> list[str]:
        """Return the addresses of a host.

        Args:
            host: A host name or an address.
            port: The port to connect to.
            caller: Name of the caller.

        Raises:
            OSError: The host has no address, or too many names are being resolved.
            UnicodeError: The host name is invalid.
        """
        if self._busy[caller] >= _THREADS_EACH or self._busy.total() >= _THREADS:
            raise OSError("too many names are being resolved")
        loop = asyncio.get_running_loop()
        result: asyncio.Future[list[str]] = loop.create_future()
        self._busy[caller] += 1

        def done(addresses: list[str] | Exception) -> None:
            self._busy[caller] -= 1
            if not self._busy[caller]:
                del self._busy[caller]
            if result.done():  # the caller gave up
                return
            if isinstance(addresses, Exception):
                result.set_exception(addresses)
            else:
                result.set_result(addresses)

        def ask() -> None:
            found: list[str] | Exception
            try:
                entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
                found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
            except Exception as error:
                found = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(done, found)

        threading.Thread(target=ask, name="resolve", daemon=True).start()
        return await result
