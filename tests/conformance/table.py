"""The page of what is right and what is not: a format in each row, a property in each column."""

from collections import Counter
from dataclasses import dataclass, field

PROPERTIES = (
    "orientation read", "orientation written", "colour", "HDR", "alpha", "animation", "pages", "crop", "depth",
    "damage", "metadata", "palette", "size", "edges", "styles", "text",
)  # fmt: skip
FORMATS = (
    "JPEG", "PNG", "WebP", "AVIF", "HEIC", "JXL", "TIFF", "GIF", "JP2", "HTJ2K", "JPEG-LS", "JXR", "EXR", "HDR", "BMP",
    "TGA", "PSD", "DNG", "PFM", "PAM", "PCX", "PDF", "SVG",
)  # fmt: skip
_INTRODUCTION = """# Conformance

The service's results, compared with independent decoders: djxl, avifdec, heif-convert, djpeg, opj_decompress, FFmpeg,
dcraw, netpbm, ImageMagick and Chromium. For JPEG XR the reference is JxrDecApp, which uses the same library as the
service. The test files are generated on each run.

`make conformance` runs the checks and rewrites this page. CONTRIBUTING.md describes how to add a check.

- **right**: all checks of this property pass.
- A reason: what is wrong, and in how many of the checks.
- *not judged*: a program that makes or decodes the files was missing.
- Empty: the format doesn't have this property, or no check covers it.

"""
_MOST_REASONS = 4
_LONGEST = 120


@dataclass
class Cell:
    """What the checks of a property of a format found.

    Attributes:
        right: How many passed.
        wrong: What the others said.
        absent: Why some were not made.
    """

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.wrong:
            found = Counter(reason for said in self.wrong for reason in said.split("; "))
            reasons = sorted(found, key=lambda reason: (-found[reason], reason))
            shown = "; ".join(_short(reason) for reason in reasons[:_MOST_REASONS])
            shown += "; …" if len(reasons) > _MOST_REASONS else ""
            count = self.right + len(self.wrong)
            return shown + (f" ({len(self.wrong)} of {count})" if count > 1 else "")
        if self.absent:
            part = "right in part, " if self.right else ""
            return f"{part}*not judged*: {', '.join(sorted(set(self.absent)))}"
        return "right" if self.right else ""


def _short(reason: str) -> str:
    reason = reason.replace("|", "/").replace("<", "&lt;")
    return reason if len(reason) <= _LONGEST else reason[: _LONGEST - 1].rstrip() + "…"


def page(cells: dict[tuple[str, str], Cell]) -> str:
    """Return the page, in Markdown."""
    lines = [f"| format | {' | '.join(PROPERTIES)} |", f"|---|{'---|' * len(PROPERTIES)}"]
    for format in FORMATS:
        row = [str(cells.get((format, property), "")) for property in PROPERTIES]
        if any(row):
            lines.append(f"| {format} | {' | '.join(row)} |")
    return _INTRODUCTION + "\n".join(lines) + "\n"
