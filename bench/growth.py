"""How much longer each query takes when there are many images: a thousand, a million, and on SQLite ten million.

    python -m bench.growth --most 1000000

Prints for each operation the median at a thousand images in milliseconds, and at the most as a ratio to it.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from tests import many
from tests.servers import postgres

from progimage.auth import Caller
from progimage.auth.caller import OPERATOR
from progimage.engine import ImageInfo
from progimage.storage import Blob, Catalogue, EventFilter, ImageFilter, Record
from progimage.storage.database.migrations import migrate

_FEWEST = 1000
_TIMES = 40
_CLIENT = Caller(OPERATOR)
_INFO = msgspec.json.decode(many.INFO, type=ImageInfo)
_FILTERS = {
    "list": ImageFilter(owner="default"),
    "list, a page in the middle": ImageFilter(owner="default", below=(many.BEGAN + 500, many.reference_of(500))),
    "list by a rare format": ImageFilter(owner="default", format="TIFF"),
    "list by a hash": ImageFilter(owner="default", sha256=many.sha256_of(325)),
    "list by rare sizes": ImageFilter(owner="default", min_bytes=6_000_000),
    "list by a rare label": ImageFilter(owner="default", labels=("rare",)),
    "list by a common label": ImageFilter(owner="default", labels=("common",)),
    "list of deleted ones": ImageFilter(owner="default", deleted=True),
}


class _Operations:
    """What is measured."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._number = 0

    def all(self) -> dict[str, Callable[[], Coroutine[Any, Any, Any]]]:
        records, inventory = self._catalogue.records, self._catalogue.inventory
        found = {name: lambda wanted=wanted: records.find(wanted, 100) for name, wanted in _FILTERS.items()}
        return {
            "put: claim and add": self._put,
            "get": lambda: records.get(many.reference_of(325)),
            "delete, undelete": self._delete,
            **found,
            "totals": inventory.totals,
            "expire, with nothing due": lambda: records.expire(500),
            "mark and look for purges": self._sweep,
            "reclaim, with nothing unused": lambda: inventory.reclaim(1e9, lambda blob: None),
            "audit by a reference": lambda: self._catalogue.audit.find(
                EventFilter(reference=many.reference_of(325)), 100
            ),
            "audit by a rare action": lambda: self._catalogue.audit.find(EventFilter(action="hold"), 100),
        }

    async def _put(self) -> None:
        self._number += 1
        blob = Blob(f"{self._number:x}".rjust(64, "f"), 1, _INFO)
        await self._catalogue.inventory.claim(blob)
        reference = f"ffffffff-0000-4000-8000-{self._number:012x}"
        await self._catalogue.records.add(_CLIENT, [Record(reference, blob, None, datetime.now(UTC), labels=("new",))])

    async def _delete(self) -> None:
        records, reference = self._catalogue.records, many.reference_of(325)
        await records.delete(_CLIENT, reference)
        await records.has_live("default", many.sha256_of(325))
        await records.undelete(_CLIENT, reference)

    async def _sweep(self) -> None:
        await self._catalogue.records.mark_for_purge(500)
        await self._catalogue.records.due_for_purge(1e9, 1, 500)


def filled(url: str, count: int) -> Catalogue:
    """Return a database that has so many images."""
    many.fill(url, count)
    catalogue = Catalogue(url)
    while asyncio.run(catalogue.records.mark_for_purge(5000)):
        pass  # as many sweeps have done
    return catalogue


def measured(catalogues: list[Catalogue]) -> dict[str, list[float]]:
    """Return the medians of each operation on some databases, in milliseconds.

    They take turns, so that what else the machine does falls on all.
    """
    works = [_Operations(catalogue).all() for catalogue in catalogues]
    found = {}
    for name in works[0]:
        times: list[list[float]] = [[] for _ in catalogues]
        for _ in range(_TIMES):
            for work, taken in zip(works, times, strict=True):
                began = time.perf_counter()
                asyncio.run(work[name]())
                taken.append((time.perf_counter() - began) * 1000)
        found[name] = [statistics.median(taken) for taken in times]
    return found


def main() -> None:
    """Measure, and print a table for each database."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="progimage-growth-") as folder, postgres(Path(folder) / "server") as server:
        for name in (options.only,) if options.only else ("sqlite", "postgresql"):
            catalogues = []
            for count in (_FEWEST, options.most):
                file = Path(folder) / f"{count}.sqlite"
                url = f"sqlite:///{file}" if name == "sqlite" else server.new_database()
                migrate(url, Path(folder) / "migration.lock")
                catalogues.append(filled(url, count))
            print(f"{name:<32}{_FEWEST:>10} images, ms   at {options.most} times as long")
            for operation, (few, most) in measured(catalogues).items():
                print(f"{operation:<32}{few:>10.2f}{most / few:>24.2f}", flush=True)
            for catalogue in catalogues:
                catalogue.close()


if __name__ == "__main__":
    main()
