"""Share one run of some work among all concurrent callers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class SingleFlight(Generic[_T]):
    """Work in progress, by name."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[_T]] = {}

    async def once(self, name: str, work: Callable[[], Awaitable[_T]]) -> _T:
        """Run some work, or wait for it if it is already running. It is cancelled when all callers have given up.

        Args:
            name: Identifies the work.
            work: Called to do it.
        """
        flight = self._flights.get(name)
        if flight is None:
            flight = _Flight(asyncio.ensure_future(work()))
            self._flights[name] = flight
            flight.task.add_done_callback(lambda _: self._land(name, flight))
        try:
            return await flight.join()
        finally:
            if flight.abandoned:
                self._land(name, flight)

    def _land(self, name: str, flight: "_Flight[_T]") -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]


class _Flight(Generic[_T]):
    """A run of some work, with any number of waiting callers."""

    def __init__(self, task: "asyncio.Future[_T]") -> None:
        self.task = task
        self.abandoned = False
        self._waiting = 0

    async def join(self) -> _T:
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self.task.done():
                self.abandoned = True
                self.task.cancel()
