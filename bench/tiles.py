"""How long a tile of a large image takes, as a viewer asks for it, and how long without a pyramid.

`make tiles`. Ratios within this one run; the machine is shared, and its noise is large.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pyvips
from tests.integration.server import Server, serving

from bench.codecs import picture

TILE = 512
SIDES = {20: (5164, 3873), 50: (8165, 6124), 100: (11547, 8660)}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=int, choices=SIDES, nargs="+", default=list(SIDES))
    parser.add_argument("--tiles", type=int, default=60, help="of each image at each scale")
    options = parser.parse_args()
    print("| image | pyramid, made once | scale | tile p50 | p99 | from the original p50 | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data") as server:
        for megapixels in options.megapixels:
            measure(server, Path(folder, "image.jpg"), megapixels, options.tiles)


def measure(server: Server, path: Path, megapixels: int, count: int) -> None:
    """Print the rows of one image."""
    width, height = SIDES[megapixels]
    picture(width, height).jpegsave(str(path), Q=88)
    with httpx.Client(base_url=server.url, timeout=120) as client:
        reference = client.put("/storage/", content=path.read_bytes()).text
        first = timed(client, reference, 0, 0, 1, width, height)
        for scale in (1, 4, 16):
            reach = TILE * scale
            places = [(x, y) for x in range(0, width, reach) for y in range(0, height, reach)]
            chosen = random.Random(1).sample(places, min(count, len(places)))
            times = sorted(timed(client, reference, x, y, scale, width, height) for x, y in chosen)
            bare = sorted(from_original(path, x, y, scale, width, height) for x, y in chosen[:12])
            p50, p99 = statistics.median(times), times[max(0, round(len(times) * 0.99) - 1)]
            made = f"{first * 1000:.0f} ms" if scale == 1 else ""
            print(
                f"| {megapixels} MP JPEG | {made} | 1/{scale} | {p50 * 1000:.0f} ms | {p99 * 1000:.0f} ms |"
                f" {statistics.median(bare) * 1000:.0f} ms | {statistics.median(bare) / p50:.1f} |"
            )
            sys.stdout.flush()


def timed(client: httpx.Client, reference: str, x: int, y: int, scale: int, width: int, height: int) -> float:
    """Ask for a tile that was never asked for, and return how long it took, in seconds."""
    region = x, y, min(TILE * scale, width - x), min(TILE * scale, height - y)
    size = f"{-(-region[2] // scale)},{-(-region[3] // scale)}"
    began = time.perf_counter()
    answer = client.get(f"/iiif/3/{reference}/{','.join(map(str, region))}/{size}/0/default.jpg")
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - began


def from_original(path: Path, x: int, y: int, scale: int, width: int, height: int) -> float:
    """Make the same tile by bare calls of libvips on the original, and return how long it took, in seconds."""
    began = time.perf_counter()
    image = pyvips.Image.new_from_file(str(path), access="sequential")
    part = image.crop(x, y, min(TILE * scale, width - x), min(TILE * scale, height - y))
    part.resize(1 / scale).jpegsave_buffer(Q=80)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
