"""The fonts that texts and drawings are set in: those that come with the package, and those of one folder.

No font or configuration of the system is ever read, so that a text looks the same everywhere.
"""

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pyvips

FAMILIES = {"sans": "Noto Sans", "serif": "Noto Serif", "mono": "Roboto Mono"}
_SCRIPTS = (
    "Arabic", "Armenian", "Bengali", "Devanagari", "Ethiopic", "Georgian", "Gujarati", "Gurmukhi", "Hebrew", "Kannada",
    "Khmer", "Lao", "Malayalam", "Myanmar", "Oriya", "Sinhala", "Tamil", "Telugu", "Thai",
)  # fmt: skip
EMOJI = "Twemoji Mozilla"
"""In colours."""
_FALLBACKS = ",".join(
    (*(f"Noto Sans {script}" for script in _SCRIPTS), "Noto Serif Tibetan", "Noto Sans CJK JP",
     "Noto Sans Symbols", EMOJI)
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


def use_folder(folder: Path | None) -> None:
    """Add the fonts of a folder to those that come with the package, before any of them is used.

    Args:
        folder: Has font files, in folders of its own, too; None is no folder.
    """
    _settled.folder = folder
    for function in (font_files, fonts_digest, load_fonts):
        function.cache_clear()


@cache
def font_files() -> tuple[Path, ...]:
    """Return the files of all fonts, those that come with the package first."""
    return (*_shipped(), *_added())


def _shipped() -> tuple[Path, ...]:
    files = [_OWN / "NotoSerifTibetan-Regular.ttf", _OWN / "TwemojiMozilla.ttf"]
    for package, names in _PACKAGES.items():
        spec = importlib.util.find_spec(package.replace("-", "_"))
        [folder] = (spec and spec.submodule_search_locations) or ()
        found = {file.name: file for file in Path(folder).rglob("*") if file.suffix in _SUFFIXES}
        files += [found[name] for name in names]
    return tuple(files)


def _added() -> tuple[Path, ...]:
    folder = _settled.folder
    return tuple(sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES)) if folder else ()


@cache
def fonts_digest() -> str:
    """Return what tells these fonts from any others: where it is another, a text may look otherwise."""
    digest = hashlib.sha256(" ".join(version(package) for package in _PACKAGES).encode())
    for file in (*_added(), *_OWN.iterdir()) :
        if file.suffix.lower() in _SUFFIXES:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def font_description(name: str, size: float) -> str:
    """Return what Pango calls a font.

    Args:
        name: One of `operations.FONTS`.
        size: In pixels, at 72 dots an inch.
    """
    family, *styles = name.split("-")
    # Pango takes the next family for a character that a font lacks.
    return " ".join([f"{FAMILIES[family]},{_FALLBACKS}", *(style.title() for style in styles), f"{size:g}"])


@cache
def load_fonts() -> None:
    """Make the fonts known to Pango. It takes tenths of a second, so it is done before workers are made."""
    os.environ["FONTCONFIG_FILE"] = str(_OWN / "fonts.conf")
    for file in font_files():
        pyvips.Image.text("x", fontfile=str(file), dpi=72)
