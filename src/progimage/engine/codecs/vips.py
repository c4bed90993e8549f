"""Common code of formats that libvips reads or writes."""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyvips

from progimage.engine.codecs.codec import Source
from progimage.engine.errors import CorruptImage, say
from progimage.engine.frame import METADATA, Frame, from_pillow, normalise, to_pillow, with_metadata
from progimage.engine.metadata import kept_metadata
from progimage.engine.modes import mode_of

if TYPE_CHECKING:
    from progimage.engine.files import OutputFile
    from progimage.engine.plan import Plan

if not pyvips.at_least_libvips(8, 18):
    raise ImportError(
        f"pyvips has loaded the system's libvips {pyvips.version(0)}.{pyvips.version(1)} instead of that of"
        " pyvips-binary. Reinstall with `make clean install`."
    )
# Disable libvips' cache: its keys are file names, and a different file can have the same name by now.
pyvips.cache_set_max(0)
# libvips logs from threads of its own. Python may collect garbage there, and frees images in a thread that must not.
logging.getLogger("pyvips").setLevel(logging.CRITICAL + 1)

_THUMBNAIL = "jpeg-thumbnail-data"


def still_frames(source: Source, first: int, last: int, load: Callable[[int], pyvips.Image]) -> Iterator[Frame]:
    """Decode pages lazily, one at a time.

    Args:
        source: The image.
        first: Index of the first one, from 0.
        last: Index after the last one.
        load: Opens a page by its index.
    """
    for index in range(first, last):
        try:
            image = load(index)
            source.limits.check(image.width, image.height)
            pixels = normalise(image)
        except pyvips.Error as error:
            raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error
        mode, native = mode_of(pixels), source.description.page(index).native
        yield Frame(pixels, native if (native, mode) in (("1", "L"), ("P", "L"), ("P", "RGB")) else mode)


def load(operation: str, source: Source, fail_on: str = "error", **options: Any) -> pyvips.Image:
    """Open a file with one of libvips' loaders for sequential reading from top to bottom.

    Args:
        operation: Name of the loader.
        source: The image.
        fail_on: Which problems are errors: `none`, `error`, or `warning`, which includes all warnings.
        options: Options of the loader.
    """
    return getattr(pyvips.Image, operation)(source.file.source(), access="sequential", fail_on=fail_on, **options)


def save(operation: str, frame: Frame, plan: "Plan", target: "OutputFile", **options: Any) -> None:
    """Write a frame with one of libvips' savers, with the metadata to keep."""
    # Pillow dithers 1-bit images; libvips would only apply a threshold.
    pixels = from_pillow(to_pillow(frame)).pixels if frame.mode == "1" else frame.pixels
    kept = kept_metadata(frame, plan.spec.kept & set(plan.format.metadata))
    pixels = with_metadata(pixels, {METADATA[kind]: data for kind, data in kept.items()})
    if pixels.get_typeof(_THUMBNAIL):
        pixels.remove(_THUMBNAIL)
    keep = pyvips.enums.ForeignKeep
    flags = {"icc": keep.ICC, "exif": keep.EXIF, "xmp": keep.XMP}
    gain_map = keep.GAINMAP if frame.gain_map is not None else keep.NONE
    options["keep"] = sum((flags[kind] for kind in plan.spec.kept), gain_map)
    getattr(pixels, operation)(target.target(), **options)
