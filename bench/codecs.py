"""Both candidate codecs of each format, side by side: time and size, one core, interleaved runs.

Run it with `make codecs`. It prints a table; the column `ratio` is Pillow's median time divided by libvips'. What it
decided is in the modules of src/progimage/engine/codecs and docs/decisions/0002-codecs.md.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["VIPS_CONCURRENCY"] = "1"

import pillow_heif
import pyvips
from PIL import AvifImagePlugin, Image

RUNS = 5
pillow_heif.register_heif_opener(decode_threads=1)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pyvips.cache_set_max(0)


def picture(width: int, height: int) -> pyvips.Image:
    """A picture with smooth areas, edges and noise, the same at every run."""
    bands = [
        pyvips.Image.perlin(width, height, cell_size=size, seed=seed) * 100
        + pyvips.Image.gaussnoise(width, height, mean=128, sigma=4, seed=seed)
        for seed, size in ((1, 300), (2, 200), (3, 400))
    ]
    discs = pyvips.Image.black(width, height).draw_circle(255, width // 3, height // 2, height // 4, fill=True)
    mixed = bands[0].bandjoin(bands[1:])
    return (discs > 0).ifthenelse(255 - mixed, mixed).cast("uchar").copy(interpretation="srgb")


def pillow_read(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def vips_read(loader: str) -> Callable[[Path], None]:
    return lambda path: getattr(pyvips.Image, loader)(str(path), access="sequential").avg()


WRITES: dict[str, tuple[int, dict[str, Any], str, dict[str, Any]]] = {
    "JPEG 12 MP": (12, dict(quality=80, optimize=True), "jpegsave", dict(Q=80, optimize_coding=True)),
    "PNG 2 MP": (2, dict(compress_level=6), "pngsave", dict(compression=6, filter="all")),
    "WEBP 2 MP": (2, dict(quality=80, method=4), "webpsave", dict(Q=80, effort=4)),
    "TIFF 12 MP": (
        12, dict(compression="tiff_adobe_deflate"), "tiffsave", dict(compression="deflate", predictor="horizontal"),
    ),
    "GIF 2 MP": (2, dict(), "gifsave", dict()),
    "AVIF 2 MP": (2, dict(quality=65, speed=7, max_threads=1), "heifsave", dict(compression="av1", Q=65, effort=2)),
}  # fmt: skip
LOADERS = {
    "JPEG": "jpegload", "PNG": "pngload", "WEBP": "webpload", "TIFF": "tiffload", "GIF": "gifload",
    "AVIF": "heifload",
}  # fmt: skip


def interleaved(one: Callable[[], None], other: Callable[[], None]) -> tuple[float, float]:
    """Time two actions in turn, and return the medians in milliseconds."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(RUNS + 1):
        for action, taken in zip((one, other), times, strict=True):
            started = time.perf_counter()
            action()
            if run:  # the first warms up
                taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    """Print the table."""
    sources = {12: picture(4000, 3000).copy_memory(), 2: picture(1600, 1250).copy_memory()}
    images = {
        size: Image.frombytes("RGB", (source.width, source.height), bytes(source.write_to_memory()))
        for size, source in sources.items()
    }
    print(f"{'':<18}{'Pillow ms':>10}{'vips ms':>10}{'ratio':>7}{'Pillow KB':>11}{'vips KB':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (size, pillow_options, saver, vips_options) in WRITES.items():
            format = name.split()[0]
            paths = Path(folder) / f"pillow.{format}", Path(folder) / f"vips.{format}"
            write = interleaved(
                lambda: images[size].save(paths[0], format, **pillow_options),
                lambda: getattr(sources[size], saver)(str(paths[1]), **vips_options),
            )
            row(f"{name} write", write, [path.stat().st_size for path in paths])
            read = vips_read(LOADERS[format])
            row(f"{name} read", interleaved(lambda: pillow_read(paths[0]), lambda: read(paths[0])))


def row(name: str, times: tuple[float, float], sizes: list[int] | None = None) -> None:
    """Print one line of the table."""
    line = f"{name:<18}{times[0]:>10.1f}{times[1]:>10.1f}{times[0] / times[1]:>7.2f}"
    print(line + (f"{sizes[0] / 1000:>11.0f}{sizes[1] / 1000:>10.0f}" if sizes else ""), flush=True)


if __name__ == "__main__":
    main()
