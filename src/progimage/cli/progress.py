"""A progress bar on a terminal: how many of how many, how many bytes, how fast, and how long it will still take."""

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self


class Progress:
    """Shows how far it is, if standard error is a terminal.

    How much there is in all is counted beside the work, since that takes long where there are a million files.

    Args:
        totals: Counts: calls what it is given with further numbers of items and bytes, again and again. None: what
            there is in all is set later.
    """

    def __init__(self, totals: Callable[[Callable[[int, int], None]], None] | None = None) -> None:
        """Start at nothing."""
        self._totals, self._bar = totals, None if not sys.stderr.isatty() else _bar()
        self._items = self._all_items = self._all_bytes = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Show it."""
        if self._bar:
            self._task = self._bar.add_task("", total=None, items="0")
            self._bar.start()
            if self._totals:
                threading.Thread(target=self._count, args=(self._totals,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state where it is."""
        if self._bar:
            self._bar.stop()

    def advance(self, items: int, size: int) -> None:
        """Go so many items and bytes further."""
        if self._bar:
            with self._lock:
                self._items += items
                self._bar.update(self._task, advance=size, items=self._shown())

    def set_totals(self, items: int, size: int) -> None:
        """Set how many items and bytes there are in all."""
        if self._bar:
            with self._lock:
                self._all_items, self._all_bytes = items, size
                self._bar.update(self._task, total=size, items=self._shown())

    def print(self, text: str) -> None:
        """Write a line to standard error, above the bar."""
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr)

    def _shown(self) -> str:
        return f"{self._items}/{self._all_items}" if self._all_items else str(self._items)

    def _count(self, totals: Callable[[Callable[[int, int], None]], None]) -> None:
        counted = [0, 0]

        def more(items: int, size: int) -> None:
            counted[0] += items
            counted[1] += size

        totals(more)
        self.set_totals(*counted)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.fields[items]} files"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    return Bar(*columns, console=Console(stderr=True))
