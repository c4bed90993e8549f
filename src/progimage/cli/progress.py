"""Progress bar for terminals: files done and in total, bytes, speed, and remaining time."""

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self


class Progress:
    """Shows progress if standard error is a terminal.

    The totals are counted in parallel to the work, since counting a million files takes long.

    Args:
        totals: Counts the totals: calls its argument repeatedly with additional numbers of items and bytes. None if the
            totals are set later.
    """

    def __init__(self, totals: Callable[[Callable[[int, int], None]], None] | None = None) -> None:
        self._totals, self._bar = totals, None if not sys.stderr.isatty() else _bar()
        self._items = self._all_items = self._all_bytes = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start the bar."""
        if self._bar:
            self._task = self._bar.add_task("", total=None, items="0")
            self._bar.start()
            if self._totals:
                threading.Thread(target=self._count, args=(self._totals,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar, leaving its last state on screen."""
        if self._bar:
            self._bar.stop()

    def advance(self, items: int, size: int) -> None:
        """Add items and bytes to the progress."""
        if self._bar:
            with self._lock:
                self._items += items
                self._bar.update(self._task, advance=size, items=self._shown())

    def set_totals(self, items: int, size: int) -> None:
        """Set the total number of items and bytes."""
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
