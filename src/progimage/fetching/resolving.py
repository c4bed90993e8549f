"""Resolving host names, as the operating system does it, in threads that nobody else needs."""

import asyncio
import socket
import threading
from collections import Counter

_THREADS = 64
_THREADS_EACH = 4


class Resolver:
    """Resolves names by getaddrinfo(3), which knows /etc/hosts and whatever else the system is told to ask.

    It can't be interrupted, and may take minutes. So each name has a thread of its own, which ends with it; a client
    whose names take long uses up its own threads, and nobody else's.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._busy: Counter[str] = Counter()

    async def resolve(self, host: str, port: int, client: str) -> list[str]:
        """Return the addresses of a host.

        Args:
            host: Its name, or an address.
            port: The port that is to be reached.
            client: For whom.

        Raises:
            OSError: It has none, or too many names are being resolved.
            UnicodeError: It is no name.
        """
        if self._busy[client] >= _THREADS_EACH or self._busy.total() >= _THREADS:
            raise OSError("too many names are being resolved")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()
        self._busy[client] += 1

        def done(addresses: list[str] | Exception) -> None:
            self._busy[client] -= 1
            if not self._busy[client]:
                del self._busy[client]
            if answer.done():  # nobody waits any more
                return
            if isinstance(addresses, Exception):
                answer.set_exception(addresses)
            else:
                answer.set_result(addresses)

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
        return await answer
