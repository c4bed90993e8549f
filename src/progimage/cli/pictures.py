"""Image previews in a terminal: each character shows two pixels, one above the other, in 24-bit colours."""

import io
import shutil
import sys

MOST_COLUMNS = 60
_UPPER_HALF = "▀"
_RESET = "\x1b[0m"


def room() -> tuple[int, int]:
    """Return the maximum width and height of a preview in this terminal, in pixels."""
    columns, lines = shutil.get_terminal_size()
    return min(columns - 1, MOST_COLUMNS), max(2, (lines - 4) * 2)


def can_show() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout.isatty()


def lines_of(picture: bytes) -> list[str]:
    """Return a small image as lines of text.

    Args:
        picture: An image file that Pillow can read, at most as large as `room` returns.
    """
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        ground = Image.new("RGBA", image.size, (128, 128, 128, 255))
        pixels = Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    lines = []
    for top in range(0, pixels.height, 2):
        line = []
        for left in range(pixels.width):
            upper = pixels.getpixel((left, top))
            lower = pixels.getpixel((left, top + 1)) if top + 1 < pixels.height else None
            line.append(f"\x1b[38;2;{_numbers(upper)}m")
            line.append(f"\x1b[48;2;{_numbers(lower)}m" if lower else "\x1b[49m")
            line.append(_UPPER_HALF)
        lines.append("".join(line) + _RESET)
    return lines


def _numbers(pixel: object) -> str:
    return ";".join(map(str, pixel))  # type: ignore[call-overload]
