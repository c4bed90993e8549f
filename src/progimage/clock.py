"""The time that all nodes share: the database's, not that of the machine.

A machine's own clock may be wrong, or be set while the service runs. So this counts from the time that the database
was last asked, by a clock that only goes forward. See `progimage.storage.database.clock`, which asks.
"""

import time
from datetime import UTC, datetime
from pathlib import Path

# It counts while a machine sleeps, and all processes of a machine share it. macOS's other one is like that.
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def since_boot() -> float:
    """Return the seconds since this machine was started. This clock can't be set."""
    return time.clock_gettime(_SINCE_BOOT)


def boot_id() -> str:
    """Return an id that changes with each start of the machine, or an empty string if the system has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


_offset = time.time() - since_boot()


def now() -> float:
    """Return the database's current time, as a Unix time in seconds."""
    return since_boot() + _offset


def utc_now() -> datetime:
    """Return the database's current time, in UTC."""
    return datetime.fromtimestamp(now(), UTC)


def set_now(seconds: float) -> None:
    """Set the current time, a Unix time in seconds."""
    global _offset
    _offset = seconds - since_boot()
