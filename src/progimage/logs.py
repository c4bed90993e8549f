"""Logging to standard error, as JSON or readable text."""

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import msgspec
import structlog

_LOG_SECONDS = 0.2


class AccessLog:
    """Log of requests, one line each.

    Lines are written in batches a few times per second: one write per request would take longer than a cached response.

    Args:
        render: Formats a line. None turns the log off.
    """

    def __init__(self, render: Callable[[dict[str, Any]], str] | None) -> None:
        self._render = render
        self._lines: list[tuple[float, str, str, str, int, float]] = []

    def add(self, request_id: str, method: str, path: str, status: int, seconds: float) -> None:
        """Log a request whose response has just been sent."""
        if self._render is None:
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(_LOG_SECONDS, self.flush)
        self._lines.append((time.time(), request_id, method, path, status, seconds))

    def flush(self) -> None:
        """Write the collected lines."""
        lines, self._lines = self._lines, []
        if self._render and lines:
            LOSSY_STDERR.write("".join(f"{self._render(_named(line))}\n" for line in lines))


class _Lossy:
    """Standard error for the log. A failed write (a full disk) is ignored, so that it doesn't fail the request.

    The number of lost writes is reported as soon as one succeeds again.
    """

    def __init__(self) -> None:
        self._lost = 0

    def write(self, text: str) -> int:
        try:
            if self._lost:
                sys.stderr.write(f"{self._lost} writes to the log failed and were lost\n")
            sys.stderr.write(text)
            sys.stderr.flush()
            self._lost = 0
        except OSError:
            self._lost += 1
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


LOSSY_STDERR = cast(TextIO, _Lossy())


def _named(line: tuple[float, str, str, str, int, float]) -> dict[str, Any]:
    answered, request_id, method, path, status, seconds = line
    return {
        "event": "request",
        "method": method,
        "path": path,
        "status": status,
        "milliseconds": round(seconds * 1000, 2),
        "request_id": request_id,
        "level": "info",
        "timestamp": datetime.fromtimestamp(answered, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }


def set_up_logging(log_format: str, level: str) -> AccessLog:
    """Make structlog and the standard library's loggers write to standard error in one format.

    Args:
        log_format: `json`, `console`, or `auto`: console on a terminal, otherwise json.
        level: Minimum level to write.

    Returns:
        The log of requests.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(LOSSY_STDERR),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = logging.StreamHandler(LOSSY_STDERR)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    if level not in ("debug", "info"):
        return AccessLog(None)
    return AccessLog((lambda line: str(renderer(None, "info", line))) if console else _as_json)


def _as_json(line: dict[str, Any]) -> str:
    return msgspec.json.encode(line).decode()
