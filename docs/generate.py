"""Makes the pages of docs that tell what the program is, from the program itself. Run it with `make docs`.

With `--check` it writes nothing, and ends with 1 if a page is not what the program says.
"""

import sys
import tempfile
from itertools import groupby
from pathlib import Path

from docs.http_page import http_page
from PIL import Image, ImageDraw

from progimage.app import openapi_document
from progimage.engine import FORMATS, Format, Limits, RenditionSpec, render
from progimage.engine.parameters import declared
from progimage.settings import Settings

DOCS = Path(__file__).parent
SHOWN = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "ICO", "PGM", "XBM")


def settings_page() -> str:
    """Describe every setting."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "one a core" if name == "workers" else f"`{field.default}`"
        description = " ".join((field.description or "").split())
        rows.append(f"| `PROGIMAGE_{name.upper()}` | {default} | {description} |")
    head = "# Settings\n\nEvery option is an environment variable; `progimage serve --help` shows those that are also"
    return f"{head} command line options.\n\n| variable | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def formats_page() -> str:
    """Describe every format."""
    rows = []
    for format in FORMATS.values():
        flags = (format.can_read, format.can_write, format.animated, format.pages, format.alpha, format.lossless)
        marks = " | ".join("yes" if flag else "" for flag in flags)
        extensions = ", ".join(f"`{extension}`" for extension in format.extensions)
        modes = ", ".join(format.modes)
        rows.append(
            f"| {format.name} | {format.description} | {extensions} | {format.media_type} | {marks} | {modes} |"
        )
    head = (
        "# Formats\n\n*Modes* are the kinds of pixels that a format can be written with. Images of other kinds are"
        " converted: see [conversion.md](conversion.md), which also describes how damaged files are handled.\n\n"
        "| name | description | extensions | media type | read | write | animation | pages | alpha | lossless |"
        " modes |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def transformations_page() -> str:
    """Describe every parameter of a rendition."""
    parts = [
        "# Transformations\n\n"
        "These are the query parameters of `GET /storage/{reference}.{extension}?…`, for a stored image, and of"
        " `POST /transform.{extension}?…`, for an image in the body. [gallery.md](gallery.md) shows their results.\n\n"
        "- A flag needs no value: `?flip`.\n"
        "- A parameter that is unknown, out of range, given twice, or not applicable to the format returns a 400 that"
        " names it.\n"
        "- The order of the parameters in the query doesn't matter. The steps are always applied in this order; within"
        " a group, in the order of its table. To choose another order, use `ops`.\n"
        "  1. page, orientation, crop and trim\n"
        "  2. decoding at a suitable size, working colour space\n"
        "  3. size, rotation, tone, effects\n"
        "  4. frame and mask, watermark and text, background\n"
        "  5. what the format requires: transparency, colour space, depth, metadata\n"
        "- Animations are transformed frame by frame and keep their timing. Values that depend on the pixels (`trim`,"
        " `normalize`, a `gravity` that searches the image) are determined from the first frame.\n"
        "- Where pixels are mixed, colours are weighted by their alpha.\n"
        "- 16 bits per channel are kept where the format supports them.\n"
    ]
    for group, entries in groupby(declared(RenditionSpec), lambda one: one.group):
        parts.append(f"\n## {group}\n\n| parameter | allowed | default | what it does |\n|---|---|---|---|\n")
        for one in entries:
            names = ", ".join(f"`{name}`" for name in (one.name, *one.aliases))
            allowed = one.kind.allowed.replace("|", "&#124;") + (f" ({one.unit})" if one.unit else "")
            bare = getattr(one.kind, "bare", None)
            allowed += f"; `{one.name}` alone is {bare:g}" if bare is not None else ""
            default = f"`{one.default_text}`" if one.default_text else ""
            parts.append(f"| {names} | {allowed} | {default} | {one.doc.replace('|', '&#124;')} |\n")
    rows = [
        f"| {format.name} | {', '.join(_choices(format))} | {' or '.join(map(str, format.depths))} |"
        f" {', '.join(format.keeps)} |\n"
        for format in FORMATS.values()
        if format.can_write and (format.options or format.keeps)
    ]
    parts.append(
        "\n## Output parameters of each format\n\nFormats that aren't listed support `depth` and `lossless` at most. An"
        " output parameter that the format doesn't support returns 400, except with the extension `auto`, which ignores"
        " it.\n\n"
        "| format | parameters | `depth` | `keep` |\n|---|---|---|---|\n" + "".join(rows)
    )
    return "".join(parts)


def _choices(format: Format) -> list[str]:
    features = {one.name: one.feature for one in declared(RenditionSpec) if one.feature not in (None, "depth")}
    return [f"`{name}`" for name, feature in features.items() if feature and format.has(feature)]


def picture() -> Image.Image:
    """Show one transparent picture in several formats, each read back."""
    size = 180
    source = Image.merge(
        "RGBA",
        (
            Image.linear_gradient("L").resize((size, size)),
            Image.linear_gradient("L").rotate(90).resize((size, size)),
            Image.new("L", (size, size), 160),
            Image.radial_gradient("L").resize((size, size)).point(lambda v: 255 - v),
        ),
    )
    sheet = Image.new("RGB", (len(SHOWN) * (size + 8) + 8, size + 34), "#e8e8ec")
    draw = ImageDraw.Draw(sheet)
    for x in range(0, sheet.width, 16):
        for y in range(26, sheet.height, 16):
            draw.rectangle((x, y, x + 7, y + 7), fill="#d4d4dc")
    with tempfile.TemporaryDirectory() as folder:
        original, rendition = Path(folder) / "original", Path(folder) / "rendition"
        source.save(original, "PNG")
        for index, name in enumerate(SHOWN):
            render(original, RenditionSpec(name), rendition, Limits())
            shown = Image.open(rendition).convert("RGBA").resize((size, size))
            left = 8 + index * (size + 8)
            sheet.paste(shown, (left, 28), shown)
            draw.text((left, 8), f".{FORMATS[name].extensions[0]}   {rendition.stat().st_size} bytes", fill="#222")
    return sheet


def main() -> int:
    """Write the pages, or check them."""
    pages = {
        "settings.md": settings_page(),
        "formats.md": formats_page(),
        "transformations.md": transformations_page(),
        "http.md": http_page(openapi_document()),
    }
    if "--check" in sys.argv:
        stale = [name for name, text in pages.items() if (DOCS / name).read_text() != text]
        for name in stale:
            print(f"docs/{name} is not what the program says: run `make docs`")
        return 1 if stale else 0
    for name, text in pages.items():
        (DOCS / name).write_text(text)
    picture().save(DOCS / "formats.png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
