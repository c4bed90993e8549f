"""The fonts for texts and drawings: those included in the package, and those of one configurable folder.

System fonts and system font configuration are never used, so that text looks the same everywhere.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution, version
from pathlib import Path

import pyvips
from PIL import ImageFont

FAMILIES = {"sans": "Noto Sans", "serif": "Noto Serif", "mono": "Roboto Mono"}
_SCRIPTS = (
    "Arabic", "Armenian", "Bengali", "Devanagari", "Ethiopic", "Georgian", "Gujarati", "Gurmukhi", "Hebrew", "Kannada",
    "Khmer", "Lao", "Malayalam", "Myanmar", "Oriya", "Sinhala", "Tamil", "Telugu", "Thai",
)  # fmt: skip
EMOJI = "Twemoji Mozilla"
_IN_COLOURS = "TwemojiMozilla.ttf"
_FALLBACKS = ",".join(
    (*(f"Noto Sans {script}" for script in _SCRIPTS), "Noto Serif Tibetan", "Noto Sans CJK JP",
     "Noto Sans Symbols", "Noto Emoji")
)  # fmt: skip
_OWN = Path(__file__).parent
_PACKAGES = {
    "fontpkg-noto-sans": ("NotoSans[wdth,wght].ttf", "NotoSans-Italic[wdth,wght].ttf"),
    "fontpkg-noto-serif": ("NotoSerif[wdth,wght].ttf", "NotoSerif-Italic[wdth,wght].ttf"),
    "fontpkg-roboto-mono": ("RobotoMono[wght].ttf", "RobotoMono-Italic[wght].ttf"),
    "manimgx-fonts": (
        *(f"NotoSans{script}[wght].ttf" for script in _SCRIPTS), "NotoEmoji[wght].ttf", "NotoSansSymbols[wght].ttf",
    ),
    "noto-cjk-sans-otc": ("NotoSansCJK-Regular.ttc",),
}  # fmt: skip
_SUFFIXES = (".ttf", ".otf", ".ttc")


@dataclass(slots=True)
class _Settled:
    folder: Path | None = None


_settled = _Settled()


def check_fonts(folder: Path) -> None:
    """Check that a folder contains fonts, and that all of them can be read.

    Raises:
        ValueError: The folder contains no fonts, or one that can't be read.
    """
    files = _in_folder(folder)
    if not files:
        raise ValueError(f"{folder} has no files with the suffixes {', '.join(_SUFFIXES)}")
    for file in files:
        try:
            ImageFont.truetype(file)
        except OSError as error:
            raise ValueError(f"{file} can't be read as a font: {error}") from None


def use_folder(folder: Path | None) -> None:
    """Add the fonts of a folder to those of the package. Call it before any font is used.

    Args:
        folder: Folder with font files, searched recursively; None for no folder.
    """
    _settled.folder = folder
    for function in (font_files, fonts_digest, load_fonts):
        function.cache_clear()


@cache
def font_files() -> tuple[Path, ...]:
    """Return the files of all fonts, those of the package first."""
    return (*_shipped(), *_added())


def _shipped() -> tuple[Path, ...]:
    files = [_OWN / "NotoSerifTibetan-Regular.ttf", _OWN / _IN_COLOURS]
    for package, names in _PACKAGES.items():
        found = {file.name: Path(str(file.locate())) for file in distribution(package).files or ()}
        files += [found[name] for name in names]
    return tuple(files)


def _added() -> tuple[Path, ...]:
    return _in_folder(_settled.folder) if _settled.folder else ()


def _in_folder(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(file.absolute() for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES))


@cache
def fonts_digest() -> str:
    """Return a digest of all fonts. If it differs, text can look different."""
    digest = hashlib.sha256(" ".join(version(package) for package in _PACKAGES).encode())
    for file in (*_in_folder(_OWN), *_added()):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def font_description(name: str, size: float) -> str:
    """Return Pango's description of a font.

    Args:
        name: One of `operations.FONTS`.
        size: Font size in pixels, at 72 dots per inch.
    """
    family, *styles = name.split("-")
    # If a font lacks a character, Pango uses the next family.
    return " ".join([f"{FAMILIES[family]},{_FALLBACKS}", *(style.title() for style in styles), f"{size:g}"])


@cache
def load_fonts() -> None:
    """Register the fonts with Pango. This takes some tenths of a second, so do it before workers are forked."""
    os.environ["FONTCONFIG_FILE"] = str(_OWN / "fonts.conf")
    # Colour fonts have no outlines, but librsvg draws only outlines, and libvips crops a text to them.
    for file in (file for file in font_files() if file.name != _IN_COLOURS):
        pyvips.Image.text("x", fontfile=str(file), dpi=72)
