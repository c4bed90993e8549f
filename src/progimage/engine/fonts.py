"""The fonts that texts are drawn with: they come from packages, so that a text looks the same everywhere."""

import importlib.util
from functools import cache
from pathlib import Path

import pyvips

_FAMILIES = {"sans": "Noto Sans", "serif": "Noto Serif", "mono": "Roboto Mono"}
# Each for the scripts that it has; Pango takes the next one for a character that a font lacks.
_PACKAGES = (
    "fontpkg_noto_sans",
    "fontpkg_noto_serif",
    "fontpkg_roboto_mono",
    "fontpkg_heebo",
    "fontpkg_noto_sans_arabic",
    "fontpkg_noto_sans_devanagari",
    "fontpkg_noto_sans_tamil",
    "fontpkg_noto_sans_thai",
    "noto_cjk_sans_otc",
)
_FALLBACKS = "Heebo,Noto Sans Arabic,Noto Sans Devanagari,Noto Sans Tamil,Noto Sans Thai,Noto Sans CJK JP"


def font_description(name: str, size: float) -> str:
    """Return what Pango calls a font.

    Args:
        name: One of `operations.FONTS`.
        size: In pixels, at 72 dots an inch.
    """
    family, *styles = name.split("-")
    return " ".join([f"{_FAMILIES[family]},{_FALLBACKS}", *(style.title() for style in styles), f"{size:g}"])


@cache
def load_fonts() -> None:
    """Make the fonts known to Pango; the first time takes some hundredths of a second."""
    for file in _font_files():
        pyvips.Image.text("x", fontfile=str(file), dpi=72)


def _font_files() -> list[Path]:
    files: list[Path] = []
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        folders = spec.submodule_search_locations if spec else None
        for folder in folders or ():
            files += sorted(file for file in Path(folder).rglob("*") if file.suffix in (".ttf", ".otf", ".ttc"))
    return files
