"""How many bytes a picture takes at the same likeness, from each service; and what more effort brings, and costs.

Run it with `make curves`. Each service makes an 800 px picture at several qualities; the bytes at one likeness lie on a
line between the two nearest (on logarithmic bytes). Likeness is SSIM against the exact downscale, or Butteraugli's
3-norm where butteraugli_main is installed (Debian: libjxl-devtools).
"""

import argparse
import io
import math
import shutil
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy
from PIL import Image
from skimage.metrics import structural_similarity

from bench.load import Request, ask
from bench.peers import Absent, Conversion, Service, imaginary, imgproxy, ipx, progimage, thumbor
from bench.pictures import Pictures

mpl.use("Agg")
from matplotlib import pyplot

SOURCE, WIDTH = "photo2.png", 800
QUALITIES = {"jpg": (50, 60, 70, 80, 90), "webp": (50, 60, 70, 80, 90), "avif": (40, 50, 60, 70, 80)}
TARGET = {"ssim": 0.96, "butteraugli": 1.0}
EFFORTS = range(1, 10)
Point = tuple[float, float, int]


class Likeness:
    """Judges pictures against the exact downscale."""

    def __init__(self, pictures: Pictures, folder: Path) -> None:
        """Make the reference."""
        with Image.open(pictures[SOURCE]) as original:
            height = round(original.height * WIDTH / original.width)
            self._reference = original.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        self._folder = folder
        self._butteraugli = shutil.which("butteraugli_main")
        self._reference.save(folder / "reference.png")

    def of(self, data: bytes) -> tuple[float, float]:
        """Return SSIM of luminance, and Butteraugli's 3-norm (0 if it is not installed)."""
        with Image.open(io.BytesIO(data)) as image:
            picture = image.convert("RGB")
        ssim = structural_similarity(
            numpy.asarray(self._reference.convert("L")),
            numpy.asarray(picture.convert("L")),
            gaussian_weights=True,
            sigma=1.5,
        )
        if not self._butteraugli:
            return float(ssim), 0
        picture.save(self._folder / "picture.png")
        said = subprocess.run(
            [self._butteraugli, self._folder / "reference.png", self._folder / "picture.png"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        return float(ssim), float(said.split("3-norm:")[1].split()[0])


def points(service: Service, extension: str, likeness: Likeness) -> list[Point]:
    """Return SSIM, Butteraugli and bytes at each quality, the lowest first; none if it can't do it."""
    found = []
    for quality in QUALITIES[extension]:
        request = service.convert(Conversion(SOURCE, extension, WIDTH, quality))
        status, _, body = ask(service.port, request) if request else (0, {}, b"")
        if status != 200:
            return []
        found.append((*likeness.of(body), len(body)))
    return found


def bytes_at(found: list[Point], measure: int, target: float) -> float | None:
    """Return how many bytes a likeness takes, between the measured points, or None: it is beyond them."""
    for low, high in pairwise(found):
        if min(low[measure], high[measure]) <= target <= max(low[measure], high[measure]):
            share = (target - low[measure]) / (high[measure] - low[measure])
            return math.exp(math.log(low[2]) * (1 - share) + math.log(high[2]) * share)
    return None


def effort_lines(service: Service, pictures: Pictures, likeness: Likeness) -> list[str]:
    """Return a table of what each effort of ours takes and gives, at the usual quality."""
    lines = ["| format | effort | ms | bytes | SSIM | butteraugli |", "|---|--:|--:|--:|--:|--:|"]
    body = pictures[SOURCE].read_bytes()
    for extension in QUALITIES:
        for effort in (None, *EFFORTS):
            query = f"width={WIDTH}" + (f"&effort={effort}" if effort else "")
            request = Request(f"/transform.{extension}?{query}", "POST", body, {"content-type": "image/png"})
            seconds = []
            for _ in range(3):
                started = time.perf_counter()
                _, _, answer = ask(service.port, request)
                seconds.append(time.perf_counter() - started)
            ssim, distance = likeness.of(answer)
            cells = (extension, effort or "default", f"{min(seconds) * 1000:.0f}", len(answer), f"{ssim:.4f}",
                     f"{distance:.3f}")  # fmt: skip
            lines.append(f"| {' | '.join(map(str, cells))} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Run all, and write curves.md and curves.png."""
    parser = argparse.ArgumentParser(description="Compare bytes at equal likeness.")
    parser.add_argument("--peers", type=Path, default=Path("build/peers").absolute())
    parser.add_argument("--pictures", type=Path, default=Path("build/pictures").absolute())
    parser.add_argument("--write", type=Path, required=True, help="the folder for curves.md and curves.png")
    arguments = parser.parse_args()
    pictures = Pictures.made_in(arguments.pictures)
    table = [
        "| format | service | bytes at SSIM 0.96 | ratio | bytes at butteraugli 1.0 | ratio |",
        "|---|---|--:|--:|--:|--:|",
    ]
    figure, axes = pyplot.subplots(1, len(QUALITIES), figsize=(15, 5))
    with tempfile.TemporaryDirectory(prefix="curves-") as work:
        likeness = Likeness(pictures, Path(work))
        services = []
        for make in (progimage, imgproxy, imaginary, thumbor, ipx):
            try:
                services.append(make(pictures, arguments.peers, Path(work)))
            except Absent as error:
                print(f"{make.__name__} is absent: {error}")
        try:
            for axis, extension in zip(axes, QUALITIES, strict=True):
                own: dict[str, float | None] = {}
                for service in services:
                    found = points(service, extension, likeness)
                    if not found:
                        table.append(f"| {extension} | {service.name} | can't | | | |")
                        continue
                    axis.plot([p[2] / 1000 for p in found], [p[0] for p in found], marker="o", label=service.name)
                    cells = []
                    for measure, (name, target) in enumerate(TARGET.items()):
                        size = bytes_at(found, measure, target)
                        own.setdefault(name, size)
                        ratio = f"{size / own[name]:.2f}" if size and own[name] else ""  # type: ignore[operator]
                        cells += [f"{size:.0f}" if size else "", ratio]
                    table.append(f"| {extension} | {service.name} | {' | '.join(cells)} |")
                    print(table[-1], [(round(a, 4), round(b, 3), c) for a, b, c in found], flush=True)
                axis.set(title=extension, xlabel="kB", ylabel="SSIM")
                axis.legend()
            efforts = effort_lines(services[0], pictures, likeness)
        finally:
            for service in services:
                service.process.terminate()
    figure.tight_layout()
    figure.savefig(arguments.write / "curves.png", dpi=80)
    lines = [
        "# File size at equal similarity", "",
        "Generated by `make curves`. [performance.md](performance.md) explains the results.", "",
        *table, "", "![SSIM and bytes](curves.png)", "", "## Time and bytes of each effort", "", *efforts,
    ]  # fmt: skip
    (arguments.write / "curves.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
