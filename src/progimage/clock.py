"""The time that all nodes share: the database's, not that of the machine.

A machine's own clock may be wrong, or be set while the service runs. So this counts from the time that the database
was last asked, by a clock that only goes forward. See `progimage.storage.clock`, which asks.
"""

import time
from datetime import UTC, datetime
from pathlib import Path

# It counts while a machine sleeps, and all processes of a machine share it. macOS's other one is like that.
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def since_boot() -> float:
    """Return the seconds since this machine was started; nobody can set this clock."""
    return time.clock_gettime(_SINCE_BOOT)


def boot_id() -> str:
    """Return what is different after each start of the machine, or an empty text where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


_offset = time.time() - since_boot()


def now() -> float:
    """Return the time of now in seconds since 1970, as the database has it."""
    return since_boot() + _offset


def utc_now() -> datetime:
    """Return the time of now in UTC, as the database has it."""
    return datetime.fromtimestamp(now(), UTC)


def set_now(seconds: float) -> None:
    """Say what the time is: in seconds since 1970."""
    global _offset
    _offset = seconds - since_boot()
