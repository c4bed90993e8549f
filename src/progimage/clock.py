"""Clock that all nodes share: the database's, not the machine's.

A machine's clock can be wrong, or be changed while the service runs. This clock starts from the last time read from the
database and advances monotonically. `progimage.storage.database.clock` reads the database's time.
"""

import time
from datetime import UTC, datetime
from pathlib import Path

# Counts while the machine sleeps and is shared by all its processes; on macOS, CLOCK_MONOTONIC does both.
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def since_boot() -> float:
    """Return the seconds since this machine booted. This clock can't be set."""
    return time.clock_gettime(_SINCE_BOOT)


def boot_id() -> str:
    """Return an ID that changes at every boot, or an empty string if the system has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


_offset = time.time() - since_boot()


def now() -> float:
    """Return the database's current time as a Unix timestamp."""
    return since_boot() + _offset


def utc_now() -> datetime:
    """Return the database's current time, in UTC."""
    return datetime.fromtimestamp(now(), UTC)


def set_now(seconds: float) -> None:
    """Set the current time, as a Unix timestamp."""
    global _offset
    _offset = seconds - since_boot()
