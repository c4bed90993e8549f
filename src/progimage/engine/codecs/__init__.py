"""The formats. Each module contains everything about one format or a family of formats.

A module defines a tuple `CODECS` with a `codec.Codec` for each of its formats. Other packages can add formats with an
entry point of the group `progimage.codecs` that names such a module, see docs/adding-a-format.md.
"""

from progimage.engine.codecs import (
    avif,
    bitmaps,
    bmp,
    documents,
    exr,
    gif,
    heic,
    icons,
    jpeg,
    jpeg2000,
    jpeg_samples,
    jpegxr,
    jxl,
    netpbm,
    pcx,
    png,
    psd,
    radiance,
    raster,
    raw,
    scientific,
    svg,
    textures,
    tga,
    tiff,
    unix,
    webp,
)
from progimage.engine.codecs.codec import Codec
from progimage.engine.codecs.format import Format
from progimage.plugins import Plugin, installed

_MODULES = (
    avif, bitmaps, bmp, documents, exr, gif, heic, icons, jpeg, jpeg2000, jpeg_samples, jpegxr, jxl, netpbm, pcx, png,
    psd, radiance, raster, raw, scientific, svg, textures, tga, tiff, unix, webp,
)  # fmt: skip


def _collected() -> dict[str, Codec]:
    own: list[tuple[Codec, Plugin | None]] = [(codec, None) for module in _MODULES for codec in module.CODECS]
    added = [(codec, plugin) for plugin in installed("codecs") for codec in _codecs_of(plugin)]
    codecs: dict[str, Codec] = {}
    extensions: set[str] = set()
    for codec, plugin in [*own, *added]:
        format = codec.format
        if format.name in codecs or extensions & set(format.extensions):
            taken = f"has a format whose name or extension is taken: {format.name}."
            raise plugin.refused(taken) if plugin else ImportError(f"The package {taken}")
        codecs[format.name] = codec
        extensions |= set(format.extensions)
    return dict(sorted(codecs.items()))


def _codecs_of(plugin: Plugin) -> tuple[Codec, ...]:
    module = plugin.load()
    try:
        return tuple(module.CODECS)
    except (AttributeError, TypeError) as error:
        raise plugin.failed(error) from error


CODECS: dict[str, Codec] = _collected()
"""All codecs by name of their format."""
FORMATS: dict[str, Format] = {name: codec.format for name, codec in CODECS.items()}
"""All formats by name."""
_BY_EXTENSION = {extension: format for format in FORMATS.values() for extension in format.extensions}


def by_extension(extension: str) -> Format | None:
    """Return the format for a file name extension, or None.

    >>> by_extension("JPG").name
    'JPEG'

    Args:
        extension: The extension without the dot; case doesn't matter.
    """
    return _BY_EXTENSION.get(extension.lower())
