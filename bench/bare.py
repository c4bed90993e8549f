"""The limit for pixels: the bare calls of a codec's library, without any service, on all cores at once.

Each conversion is what somebody who knows the library would write for it, with one thread a process and a process a
core; what is fastest of libvips and Pillow counts.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["VIPS_CONCURRENCY"] = "1"

import pyvips
from PIL import AvifImagePlugin, Image

from bench.load import CORES
from bench.peers import QUALITY, Conversion

AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pyvips.cache_set_max(0)
LIBVIPS = f"{pyvips.version(0)}.{pyvips.version(1)}"


def by_vips(source: Path, wanted: Conversion, target: Path) -> None:
    """Convert with libvips."""
    if wanted.width:
        image = pyvips.Image.thumbnail(str(source), wanted.width, height=10_000_000, size="down")
    elif wanted.source.endswith(".gif"):
        image = pyvips.Image.new_from_file(str(source), access="sequential", n=-1)
    else:
        image = pyvips.Image.new_from_file(str(source), access="sequential")
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "jpg": ("jpegsave", {"Q": QUALITY["jpg"], "optimize_coding": True}),
        "webp": ("webpsave", {"Q": QUALITY["webp"], "effort": 4}),
        "png": ("pngsave", {"compression": 6, "filter": "all"}),
        "avif": ("heifsave", {"Q": QUALITY["avif"], "compression": "av1", "effort": 2}),
    }
    saver, options = ways[wanted.extension]
    getattr(image, saver)(str(target), keep="none", **options)


def by_pillow(source: Path, wanted: Conversion, target: Path) -> None:
    """Convert with Pillow."""
    with Image.open(source) as image:
        if wanted.width:
            size = wanted.width, round(image.height * wanted.width / image.width)
            image.draft("RGB", size)
            image.load()
            picture = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        else:
            picture = image
        ways: dict[str, dict[str, Any]] = {
            "jpg": {"quality": QUALITY["jpg"], "optimize": True},
            "webp": {"quality": QUALITY["webp"], "method": 4, "save_all": True},
            "png": {"compress_level": 6},
            "avif": {"quality": QUALITY["avif"], "speed": 7, "max_threads": 1},
        }
        picture.save(target, **ways[wanted.extension])


def decode_fully(source: Path, wanted: Conversion, target: Path) -> None:
    """Decode every pixel, as one does to know that a file is whole."""
    pyvips.Image.new_from_file(str(source), access="sequential", fail_on="error").avg()


def rate(function: Callable[[Path, Conversion, Path], None], source: Path, wanted: Conversion, seconds: float) -> float:
    """Return how many conversions a second all cores do together."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(CORES) as pool:
        pool.map(_warm, range(CORES))
        jobs = [(function, source, wanted, seconds, number) for number in range(CORES)]
        return sum(pool.starmap(_repeat, jobs))


def _warm(_: int) -> None:
    time.sleep(0.1)


def _repeat(
    function: Callable[[Path, Conversion, Path], None], source: Path, wanted: Conversion, seconds: float, number: int
) -> float:
    target = Path(tempfile.gettempdir()) / f"bare-{os.getpid()}-{number}.{wanted.extension}"
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        function(source, wanted, target)
        count += 1
    target.unlink(missing_ok=True)
    return count / (time.perf_counter() - started)
