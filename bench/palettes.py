"""Bytes and likeness of palettes beside pngquant, gifsicle and vipsthumbnail, where those are on the PATH.

.venv/bin/python -m bench.palettes
"""

import io
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
import pyvips
from PIL import Image, ImageDraw

from bench.pictures import photographs
from progimage.engine import Limits, RenditionSpec, render
from progimage.engine.codecs import samples
from progimage.engine.quality import similarity

_SIZE = 300, 200


def main() -> None:
    """Print a table."""
    samples.imagecodecs()  # else it counts as the first picture's time
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, picture in _stills().items():
            file = folder / f"{title}.png"
            picture.save(file, icc_profile=None)
            _compare(f"{title}, PNG", file, [picture], "PNG", {"pngquant": ["pngquant", "256", "-", "-o", "-"]})
        for title, frames in _animations().items():
            file = folder / f"{title}.gif"
            frames[0].save(file, save_all=True, append_images=frames[1:], duration=60, loop=0)
            size = f"{_SIZE[0]}x{_SIZE[1]}"
            gifsicle = ["gifsicle", "-O2", "--resize", size, "--colors", "256"]
            others = {
                "gifsicle -O2": gifsicle,
                "gifsicle -O2, Lanczos": [*gifsicle, "--resize-method", "lanczos3"],
                "vipsthumbnail": ["vipsthumbnail", f"{file}[n=-1]", "-s", f"{size}!", "-o", f"{folder}/thumbnail.gif"],
            }
            wanted = [frame.resize(_SIZE, Image.Resampling.LANCZOS) for frame in _frames(file.read_bytes())]
            _compare(f"{title}, GIF", file, wanted, "GIF", others)


def _compare(title: str, file: Path, wanted: list[Image.Image], format: str, others: dict[str, list[str]]) -> None:
    print(title)
    target = file.with_name("made")
    query = [("palette", "256")] if format == "PNG" else [("width", str(_SIZE[0])), ("height", str(_SIZE[1]))]
    start = time.process_time()
    render(file, RenditionSpec.parse(format, query), target, Limits())
    ours = target.read_bytes()
    _tell("ProgImage", ours, len(ours), wanted, time.process_time() - start)
    for name, command in others.items():
        if not shutil.which(command[0]):
            print(f"  {name:24} absent")
            continue
        before = os.times()
        made = subprocess.run(command, input=file.read_bytes(), capture_output=True, check=True).stdout
        after = os.times()
        seconds = after.children_user + after.children_system - before.children_user - before.children_system
        _tell(name, made or file.with_name("thumbnail.gif").read_bytes(), len(ours), wanted, seconds)


def _tell(name: str, data: bytes, ours: int, wanted: list[Image.Image], seconds: float) -> None:
    found = _frames(data)
    pairs = list(zip(found, wanted, strict=True))
    likeness = sum(similarity(_luminance(one), _luminance(other)) for one, other in pairs) / len(pairs)
    ratio = ours / len(data)
    print(f"  {name:24} {len(data):9} bytes   ours {ratio:5.3f} of it   SSIM {likeness:.4f}   {seconds:5.2f} s CPU")


def _frames(data: bytes) -> list[Image.Image]:
    image, frames = Image.open(io.BytesIO(data)), []
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        frames.append(image.convert("RGBA"))
    return frames


def _luminance(image: Image.Image) -> pyvips.Image:
    white = Image.new("RGBA", image.size, "white")
    grey = Image.alpha_composite(white, image.convert("RGBA")).convert("L")
    return pyvips.Image.new_from_memory(grey.tobytes(), *grey.size, 1, "uchar")


def _stills() -> dict[str, Image.Image]:
    portrait, cat, coffee = photographs()[:3]
    y, x = numpy.mgrid[0:400, 0:600]
    alpha = numpy.clip(255 - numpy.hypot(x - 300, y - 200), 0, 255)
    gradient = numpy.dstack([x * 255 // 599, y * 255 // 399, 255 - x * 255 // 599, alpha]).astype(numpy.uint8)
    soft = numpy.clip((300 - numpy.hypot(*(numpy.mgrid[0:512, 0:512] - 256))) / 60, 0, 1) * 255
    cut_out = numpy.dstack([numpy.asarray(portrait), soft.astype(numpy.uint8)])
    return {
        "portrait": portrait, "cat": cat, "coffee": coffee, "drawing": _drawing(),
        "gradient with alpha": Image.fromarray(gradient), "cut-out": Image.fromarray(cut_out),
        "ellipse": _ellipse(), "text": _text(), "greys": Image.fromarray((x % 256 // 26 * 26).astype(numpy.uint8)),
    }  # fmt: skip


def _drawing() -> Image.Image:
    chance = numpy.random.default_rng(1)
    picture = Image.new("RGB", (1800, 1200), "white")
    draw = ImageDraw.Draw(picture)
    for number in range(40):
        x, y, radius = (int(chance.integers(*between)) for between in ((0, 1800), (0, 1200), (30, 300)))
        shape = draw.ellipse if number % 2 else draw.rectangle
        colour = tuple(int(band) for band in chance.integers(0, 255, 3))
        shape((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="black", width=9)
    return picture.resize((600, 400), Image.Resampling.LANCZOS)


def _ellipse() -> Image.Image:
    picture = Image.new("RGB", (100, 100), "white")
    ImageDraw.Draw(picture).ellipse((20, 10, 90, 80), fill=(0, 128, 0), outline="blue", width=3)
    return picture


def _text() -> Image.Image:
    page = Image.new("RGB", (800, 600), "white")
    for line in range(40):
        ImageDraw.Draw(page).text((10, 15 * line), f"Line {line * line} of a page of text. " * 3, fill=(9, 9, 9))
    return page


def _animations() -> dict[str, list[Image.Image]]:
    """Twenty frames of a shape before a photograph, of a photograph that is panned, and of a screen."""
    cat = photographs()[1]
    ground = cat.resize((600, 400))
    moving, panned, screen = [], [], []
    for index in range(20):
        frame = ground.copy()
        draw = ImageDraw.Draw(frame)
        draw.ellipse((20 + index * 25, 120, 140 + index * 25, 240), fill=(200, 30 + index * 5, 40), outline="white")
        moving.append(frame)
        panned.append(cat.crop((index * 2, index, index * 2 + 390, index + 260)))
        frame = Image.new("RGB", (600, 400), (246, 247, 249))
        draw = ImageDraw.Draw(frame)
        for row in range(60):
            draw.line((0, row, 600, row), fill=(30 + row, 60 + row, 140 + row))
        for row in range(index):
            draw.text((20, 80 + row * 15), f"Line {row} of a log that grows", fill=(20, 20, 30))
        screen.append(frame)
    return {"moving": moving, "panned": panned, "screen": screen}


if __name__ == "__main__":
    main()
