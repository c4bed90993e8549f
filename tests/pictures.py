"""Pictures to test with, made here: one of every kind of pixels, animations, pages, profiles, orientations."""

import io
from collections.abc import Callable

import numpy as np
import pyvips
from PIL import Image, ImageCms, ImageDraw

SIZE = 64, 48


def colour(size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture whose four corners differ, so that any turn or mirroring shows."""
    width, height = size
    across = Image.linear_gradient("L").rotate(90).resize(size)
    down = Image.linear_gradient("L").resize(size)
    picture = Image.merge("RGB", (across, down, Image.new("L", size, 90)))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width // 4, height // 4), fill=(230, 30, 30))
    draw.ellipse((width // 2, height // 2, width - 3, height - 3), fill=(250, 240, 60))
    return picture


def transparent(size: tuple[int, int] = SIZE) -> Image.Image:
    picture = colour(size)
    picture.putalpha(Image.linear_gradient("L").resize(size))
    return picture


def detailed(width: int, height: int) -> pyvips.Image:
    """A picture with structure of every size, as a photograph has: clouds, edges and grain."""
    clouds = pyvips.Image.perlin(width, height, cell_size=max(width, height) // 8, seed=1) * 60
    fine = pyvips.Image.perlin(width, height, cell_size=12, seed=2) * 40
    grain = pyvips.Image.gaussnoise(width, height, mean=128, sigma=4, seed=3)
    grey = clouds + fine + grain
    disc = pyvips.Image.black(width, height).draw_circle(255, width // 3, height // 2, height // 4, fill=True) > 0
    bands = disc.ifthenelse(255 - grey, grey).bandjoin([grey * 0.8 + 20, grey * 0.6 + 60])
    return bands.cast("uchar").copy(interpretation="srgb")


def saved(picture: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def _deep(bands: str) -> bytes:
    source = {"RGB": colour(), "RGBA": transparent(), "L": colour().convert("L")}[bands]
    picture = pyvips.Image.new_from_buffer(saved(source, "PNG"), "")
    deep = (picture.cast("ushort") * 257).cast("ushort") - pyvips.Image.identity().crop(0, 0, 64, 1).replicate(1, 48)
    deep = (deep < 0).ifthenelse(0, deep).cast("ushort")  # values that 8 bits can't hold
    return bytes(deep.copy(interpretation="grey16" if bands == "L" else "rgb16").pngsave_buffer())


def _palette_with_alpha() -> bytes:
    picture = colour().quantize(30)
    return saved(picture, "PNG", transparency=4)


def animation(format: str = "GIF", frames: int = 4, **options: object) -> bytes:
    pictures = []
    for index in range(frames):
        picture = Image.new("RGB", SIZE, (40 * index, 60, 200 - 30 * index))
        ImageDraw.Draw(picture).rectangle((index * 10, 5, index * 10 + 9, 30), fill=(255, 255, 0))
        pictures.append(picture)
    durations = [100 + 50 * index for index in range(frames)]
    return saved(pictures[0], format, save_all=True, append_images=pictures[1:], duration=durations, **options)


def pages(count: int = 3) -> bytes:
    pictures = [Image.new("RGB", (60 + 10 * index, 40), (70 * index, 100, 50)) for index in range(count)]
    return saved(pictures[0], "TIFF", save_all=True, append_images=pictures[1:])


def oriented(orientation: int, size: tuple[int, int] = SIZE) -> bytes:
    """A JPEG that looks like `colour()` to a viewer that heeds its EXIF orientation."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = colour(size)
    stored = picture.transpose(undo[orientation]) if orientation in undo else picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Testmaker"
    return saved(stored, "JPEG", exif=exif, quality=95, subsampling=0)


def with_swapped_profile(format: str = "JPEG", size: tuple[int, int] = SIZE) -> bytes:
    """A picture in a colour space whose red and green primaries are exchanged: stored red is green to a viewer."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, green = srgb.index(b"rXYZ"), srgb.index(b"gXYZ")
    swapped = bytearray(srgb)
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    return saved(Image.new("RGB", size, (255, 0, 0)), format, icc_profile=bytes(swapped), quality=95)


SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><rect width="64" height="48" fill="#fff"/>'
    b'<circle cx="20" cy="20" r="15" fill="red"/><script>alert(1)</script></svg>'
)

BY_MODE: dict[str, Callable[[], bytes]] = {
    "1": lambda: saved(colour().convert("1"), "PNG"),
    "L": lambda: saved(colour().convert("L"), "PNG"),
    "LA": lambda: saved(transparent().convert("LA"), "PNG"),
    "P": lambda: saved(colour().quantize(60), "PNG"),
    "P-transparent": _palette_with_alpha,
    "RGB": lambda: saved(colour(), "PNG"),
    "RGBA": lambda: saved(transparent(), "PNG"),
    "CMYK": lambda: saved(colour().convert("CMYK"), "TIFF"),
    "CMYK-JPEG": lambda: saved(colour().convert("CMYK"), "JPEG", quality=95),
    "YCbCr": lambda: saved(colour().convert("YCbCr"), "TIFF"),
    "LAB": lambda: saved(_lab(), "TIFF"),
    "F": lambda: saved(colour().convert("L").convert("F"), "TIFF"),
    "I;16": lambda: _deep("L"),
    "RGB;16": lambda: _deep("RGB"),
    "RGBA;16": lambda: _deep("RGBA"),
}


def _lab() -> Image.Image:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    converted = ImageCms.applyTransform(colour(), to_lab)
    assert converted is not None
    return converted


def open_bytes(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def pixel(picture: Image.Image, at: tuple[int, int]) -> tuple[int, ...]:
    """One pixel of a picture that has several bands."""
    found = picture.getpixel(at)
    assert isinstance(found, tuple)
    return found


def colours(picture: Image.Image) -> list[tuple[int, tuple[int, ...]]]:
    """How many pixels have each colour, without alpha."""
    array = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    found, counts = np.unique(array, axis=0, return_counts=True)
    return [(int(count), tuple(map(int, one))) for one, count in zip(found, counts, strict=True)]


def greatest(picture: Image.Image) -> int:
    """The greatest red of a picture."""
    return int(np.asarray(picture.convert("RGB"))[..., 0].max())


def frame_count(picture: Image.Image) -> int:
    """How many frames or pages a picture has."""
    return int(getattr(picture, "n_frames", 1))


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean absolute difference of two pictures of one size, in levels of 255."""
    assert one.size == other.size
    first, second = one.convert("RGB").tobytes(), other.convert("RGB").tobytes()
    return sum(abs(a - b) for a, b in zip(first, second, strict=True)) / len(first)


SKIN = 224, 172, 136


def with_faces(size: tuple[int, int], *faces: tuple[int, int, int]) -> Image.Image:
    """Draw faces on something dull, each given as x and y of its middle and its radius; only they have this skin."""
    picture = Image.linear_gradient("L").resize(size).point(lambda value: 80 + value // 8).convert("RGB")
    for x, y, r in faces:
        draw = ImageDraw.Draw(picture)

        def oval(across: float, down: float, wide: float, high: float, colour: str | tuple[int, int, int]) -> None:
            box = (x + (across - wide) * r, y + (down - high) * r, x + (across + wide) * r, y + (down + high) * r)
            draw.ellipse(box, fill=colour)

        draw.rectangle((x - 0.35 * r, y + 0.7 * r, x + 0.35 * r, y + 1.6 * r), fill="#c89070")  # the neck
        oval(0, -0.25, 0.95, 1.2, "#3a2a20")  # hair
        oval(0, 0, 0.78, 1.05, SKIN)
        for side in (-0.33, 0.33):
            oval(side, -0.12, 0.17, 0.09, "#f4f0ea")
            oval(side, -0.12, 0.08, 0.085, "#302018")
            oval(side, -0.34, 0.2, 0.04, "#3a2a20")
        oval(0, 0.12, 0.07, 0.2, "#d09878")  # the nose
        oval(0, 0.2, 0.13, 0.1, "#c88c6c")
        oval(0, 0.52, 0.28, 0.09, "#b05048")  # the mouth
        oval(0, 0.52, 0.28, 0.02, "#702828")
    return picture
