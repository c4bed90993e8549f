"""The images that are converted: made of the photographs that come with scikit-image, the same at every run."""

import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
_TILE = 400, 300
_FRAMES = 24


@dataclass(frozen=True, slots=True)
class Pictures:
    """The files that every service is given.

    Attributes:
        folder: Where they are.
    """

    folder: Path

    @classmethod
    def made_in(cls, folder: Path) -> "Pictures":
        """Make those that are not there yet."""
        folder.mkdir(parents=True, exist_ok=True)
        pictures = cls(folder)
        large, middle = mosaic(4000, 3000), mosaic(1600, 1200)
        pictures._save("photo12.jpg", large, quality=95)
        pictures._save("photo2.jpg", middle, quality=88)
        pictures._save("photo2.png", middle)
        pictures._save("photo2.webp", middle, quality=88)
        pictures._save("small.jpg", mosaic(640, 480), quality=93)
        pictures._save("huge.jpg", mosaic(10000, 9900), quality=70)
        if not (folder / "animation.gif").exists():
            frames = [_panned(index) for index in range(_FRAMES)]
            frames[0].save(
                folder / "animation.gif", save_all=True, append_images=frames[1:], duration=60, loop=0, optimize=False
            )
        return pictures

    def __getitem__(self, name: str) -> Path:
        """Return the path of a file."""
        return self.folder / name

    def _save(self, name: str, picture: Image.Image, **options: Any) -> None:
        path = self.folder / name
        if not path.exists():
            picture.save(path, **options)


@cache
def photographs() -> list[Image.Image]:
    """Return the photographs, as RGB."""
    folder = files("skimage") / "data"
    return [Image.open(io.BytesIO((folder / name).read_bytes())).convert("RGB") for name in _PHOTOGRAPHS]


def mosaic(width: int, height: int) -> Image.Image:
    """Return a picture of tiles cut out of the photographs at their own resolution, some of them mirrored."""
    canvas = Image.new("RGB", (width, height))
    number = 0
    for top in range(0, height, _TILE[1]):
        for left in range(0, width, _TILE[0]):
            photograph = photographs()[number % len(_PHOTOGRAPHS)]
            spare = photograph.width - _TILE[0], photograph.height - _TILE[1]
            x, y = number * 37 % max(1, spare[0]), number * 53 % max(1, spare[1])
            tile = photograph.crop((x, y, x + _TILE[0], y + _TILE[1]))
            if number // len(_PHOTOGRAPHS) % 2:
                tile = tile.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            canvas.paste(tile, (left, top))
            number += 1
    return canvas


def _panned(index: int) -> Image.Image:
    photograph = photographs()[1]
    return photograph.crop((index * 2, index, index * 2 + 400, index + 270))


def distinct(jpeg: bytes, number: int) -> bytes:
    """Return a JPEG with a comment, so that no two are the same file and their pixels are."""
    comment = f"{number:016d}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
