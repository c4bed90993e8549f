"""Requests to measure: files of many formats and sizes, and queries at random, with what each is reckoned to cost."""

import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyvips
from PIL import Image

from progimage.engine import FORMATS, EngineError, Limits, RenditionSpec, render
from progimage.engine.cost import Facts
from progimage.engine.faces import DETECTOR
from progimage.engine.files import InputFile
from progimage.engine.source import open_source
from tests.pictures import detailed

# Those that are asked for; each of the others is read or written in much less time than these.
WRITTEN = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "HEIC", "JXL", "BMP", "PPM", "JP2")
READ = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIC", "JXL", "BMP", "JP2")
_SIDES = ((320, 240), (800, 600), (1600, 1200), (3000, 2000))
_SMALLER = 1600
OPERATIONS = (
    "blur=3", "blur=30", "sharpen=2", "median=3", "median=9", "pixelate=10", "rotate=15", "rotate=90", "flip=true",
    "normalize=true", "gamma=2", "brightness=1.2", "contrast=0.8", "saturation=0.5", "hue=40", "sepia=1", "tint=red",
    "grayscale=true", "negate=true", "threshold=100", "extend=20", "border=10", "radius=40", "text=Hello", "trim=10",
    "crop=10%,10%,80%,80%", "aspect=1:1&gravity=smart", "aspect=3:1&gravity=entropy", "background=white",
    *(["aspect=1:1&gravity=face"] if DETECTOR else []),
)  # fmt: skip
_OUTPUT = (
    "quality=auto",
    "quality=50",
    "quality=100",
    "max_bytes=100000",
    "lossless=true",
    "effort=2",
    "effort=8",
    "progressive=true",
    "chroma=4:4:4",
    "depth=16",
    "palette=64",
    "strip=true",
)


@dataclass(frozen=True)
class Sample:
    """A request.

    Attributes:
        path: Of the image.
        facts: Of the image.
        spec: What is asked for.
    """

    path: Path
    facts: Facts
    spec: RenditionSpec

    def seconds(self, target: Path, rounds: int = 1) -> float:
        """Return the least CPU time that it takes in some rounds."""
        return min(self._once(target) for _ in range(rounds))

    def _once(self, target: Path) -> float:
        started = time.process_time()
        render(self.path, self.spec, target, Limits())
        return time.process_time() - started


def facts_of(path: Path) -> Facts:
    """Return what a cost is reckoned from, as a worker finds it out."""
    return Facts.of(open_source(InputFile(path), Limits()))


def files(folder: Path) -> dict[Path, Facts]:
    """Make the files: of every format that can be made, the usual ones in several sizes, some clear, some moving."""
    found = {}
    for width, height in _SIDES:
        picture = detailed(width, height)
        round_ = pyvips.Image.gaussnoise(width, height, mean=200, sigma=20).cast("uchar")
        clear = picture.bandjoin(round_).copy(interpretation="srgb")
        image, clear_image = (
            Image.frombytes(mode, (width, height), bytes(pixels.write_to_memory()))
            for mode, pixels in (("RGB", picture), ("RGBA", clear))
        )
        for format in ("JPEG", "PNG") if width > _SMALLER else READ:  # the others take long to be written
            path = folder / f"{width}.{format}"
            image.save(path, {"HEIC": "HEIF", "JP2": "JPEG2000"}.get(format, format), compress_level=1)
            found[path] = facts_of(path)
        for format in ("PNG",) if width > _SMALLER else ("PNG", "WEBP"):
            path = folder / f"{width}-clear.{format}"
            clear_image.save(path, format, compress_level=1)
            found[path] = facts_of(path)
        for name, kind in (("deep", picture), ("deep-clear", clear), ("deep-grey", picture[1])):
            path = folder / f"{width}-{name}.PNG"
            deep = (kind * 257).cast("ushort").copy(interpretation="grey16" if kind.bands == 1 else "rgb16")
            deep.pngsave(str(path), compression=1)
            found[path] = facts_of(path)
        path = folder / f"{width}-cmyk.TIFF"
        image.convert("CMYK").save(path)
        found[path] = facts_of(path)
    plain = next(iter(found))
    for other in FORMATS.values():
        if other.can_write and other.can_read and other.name not in READ:
            path = folder / f"800.{other.name}"
            render(plain, RenditionSpec(other.name, width=800, enlarge=True), path, Limits())
            found[path] = facts_of(path)
    frames = [
        Image.frombytes("RGB", (300, 200), bytes(detailed(300, 200).write_to_memory())).rotate(n) for n in range(8)
    ]
    for format in ("GIF", "WEBP", "AVIF", "PNG"):
        path = folder / f"moving.{format}"
        frames[0].save(path, format, save_all=True, append_images=frames[1:], duration=50)
        found[path] = facts_of(path)
    return found


def at_random(seed: int, count: int, images: dict[Path, Facts]) -> Iterator[Sample]:
    """Make requests of all kinds: sizes, operations in one stage or several, formats, efforts."""
    chance = random.Random(seed)
    while count:
        path, facts = chance.choice(list(images.items()))
        query: list[str] = []
        if chance.random() < 0.7:
            query.append(f"width={chance.choice((100, 300, 640, 1000, 1600))}")
            if chance.random() < 0.3:
                query += ["enlarge=true", "fit=inside"]
        operations = chance.sample(OPERATIONS, chance.choice((0, 0, 1, 1, 2, 3)))
        names = {part.partition("=")[0] for part in "&".join([*query, *operations]).split("&")}
        if len(names) < len("&".join([*query, *operations]).split("&")):
            continue
        query += operations
        if query and chance.random() < 0.25:
            stages = [
                ";".join(part.replace("=", ":", 1) for part in one.split("&")) for one in query if "enl" not in one
            ]
            query = [f"ops={'|'.join(stages)}"]
        if chance.random() < 0.3:
            query.append(chance.choice(_OUTPUT))
        sample = made(path, facts, f"{chance.choice(WRITTEN)}?{'&'.join(query)}")
        if sample:
            count -= 1
            yield sample


def made(path: Path, facts: Facts, text: str) -> Sample | None:
    """Return a request, or None: this format has no such option."""
    try:
        return Sample(path, facts, RenditionSpec.from_canonical(text))
    except EngineError:
        return None


def one_by_one(images: dict[Path, Facts]) -> Iterator[Sample]:
    """Make requests that differ in one thing each: each format read, each operation, each way of writing."""
    by_name = {path.name: (path, facts) for path, facts in images.items()}
    for path, facts in images.items():
        yield from filter(
            None, (made(path, facts, text) for text in ("PPM", "PPM?width=150", "PPM?width=70&fit=inside"))
        )
    for name in (
        "800.PNG", "1600.PNG", "800-clear.PNG", "1600-clear.PNG", "800-deep.PNG", "1600-deep.PNG", "800-deep-clear.PNG",
        "800-deep-grey.PNG", "1600-deep-grey.PNG", "320.PNG", "320-clear.PNG", "320-deep.PNG", "320-deep-clear.PNG",
    ):  # fmt: skip
        for query in (
            *OPERATIONS,
            "width=300",
            "width=2000&enlarge=true",
            "blur=120",
            "median=31",
            "sharpen=10",
            "text=Hello&text_size=300",
        ):
            yield from filter(
                None, (made(*by_name[name], f"PPM?{query}"), made(*by_name[name], f"PPM?ops={_stage(query)}|flop:true"))
            )
    for format, query in ways_of_writing():
        side = 320 if format in ("AVIF", "JXL") and query else 800
        kind = "-deep-grey" if "depth" in query and format not in ("AVIF", "HEIC") else ""
        yield from filter(None, (made(*by_name[f"{side}{kind}.PNG"], f"{format}?{query}"),))
        if FORMATS[format].animated and not any(word in query for word in ("depth", "quality=99", "progressive")):
            yield from filter(None, (made(*by_name["moving.GIF"], f"{format}?{query}"),))
    for one in FORMATS.values():
        if one.can_write:
            for query in ("", "quality=auto", "max_bytes=50000", "palette=32", "strip=true", "profile=p3"):
                yield from filter(None, (made(*by_name["800.PNG"], f"{one.name}?{query}"),))
            yield from filter(None, (made(*by_name["1600.PNG"], f"{one.name}"),))


def ways_of_writing() -> Iterator[tuple[str, str]]:
    """Make each format with each combination of what makes its encoder work more or less."""
    for format in FORMATS.values():
        if not format.can_write:
            continue
        efforts = ["", *(f"effort={effort}" for effort in range(1, 10))] if format.has("effort") else [""]
        lossless = ["", "lossless=true"] if format.has("lossless") and format.has("quality") else [""]
        fine = ["", "quality=99"] if format.has("quality") else [""]
        progressive = ["", "progressive=true"] if format.has("progressive") else [""]
        depths = ["", *(f"depth={depth}" for depth in format.depths[1:])]
        for choices in itertools.product(lossless, efforts, fine, progressive, depths):
            if not (choices[0] and choices[2]):
                yield format.name, "&".join(filter(None, choices))


def _stage(query: str) -> str:
    return ";".join(part.replace("=", ":", 1) for part in query.split("&"))
