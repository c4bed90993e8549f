"""Camera raw files: the camera's preview if it has nearly full size; otherwise the sensor data is developed.

LibRaw (rawpy) reads both. docs/decisions/0019-photoshop-and-raw.md explains why the preview takes precedence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyvips
from PIL import Image

from progimage.engine.codecs.codec import Decoder, DecodesFrames, Decoding, ReadOnly, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.raw_exif import raw_exif
from progimage.engine.codecs.raw_header import RawHeader, has_signature, raw_header
from progimage.engine.codecs.raw_preview import is_sound, opened_preview
from progimage.engine.codecs.samples import rawpy
from progimage.engine.codecs.zeroed_memory import zeroed_memory
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, NotAnImage, UnreadKind, say
from progimage.engine.files import InputFile
from progimage.engine.frame import METADATA, Frame, with_metadata
from progimage.engine.geometry import Box, Size
from progimage.engine.limits import Limits
from progimage.engine.modes import mode_of

_FULL_SIZE = 0.9
"""Minimum size of a preview to be used, as a fraction of each side of the developed image."""
_DEVELOPED = "The image was developed from the raw sensor data."
_DEVELOPED_INSTEAD = "The camera's preview is damaged, so the image was developed from the raw sensor data."
_HALF = 2
_SRGB_CURVE = (2.4, 12.92)
"""Power and slope of sRGB's transfer function, as LibRaw's parameters."""
_ORIENTATIONS = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
"""EXIF orientation by LibRaw's flip: 1 mirrors columns, 2 mirrors rows, and 4 then swaps rows and columns."""


@dataclass(frozen=True, slots=True)
class _Native:
    """The image that represents a raw file.

    Attributes:
        preview: The preview, if there is one.
        shown: Page of the preview, if it is used.
        developed: Size of the image that LibRaw develops.
        crop: Part of the developed image that the camera shows.
    """

    preview: Source | None
    shown: Page | None
    developed: Size
    crop: Box | None


class _Raw(ReadOnly):
    """A camera raw format of one or several manufacturers."""

    def __init__(self, format: Format) -> None:
        self.format = format

    def recognises(self, head: bytes) -> bool:
        """Return whether the file has the format's signature. The TIFF codec passes on files that start like TIFF."""
        return has_signature(head, self.format.name)

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header, and decide whether the preview or the developed image represents the file; see `Codec`.

        This is decided here, so that all renditions show the same image: the preview is decoded, and if it is damaged,
        the sensor data is unpacked.
        """
        refusal = self._refusal(raw_header(file.data))
        try:
            with _opened(file, self.format) as raw:
                sizes, grey, jpeg = raw.sizes, raw.num_colors == 1, _preview(raw)
        except (CorruptImage, NotAnImage) as error:
            raise refusal or error from None
        limits.check(sizes.raw_width, sizes.raw_height)
        width, height = _developed_size(sizes)
        limits.check(width, height)
        crop = _crop(sizes)
        developed = Page(width, height, crop, _ORIENTATIONS.get(sizes.flip, 1))
        preview = opened_preview(jpeg, limits) if jpeg else None
        native = _Native(preview, None, (width, height), crop)
        shown = _page_of(preview, developed) if preview else None
        if preview and shown:
            if is_sound(preview):
                lost = str(refusal) if isinstance(refusal, CorruptImage) else ""
                return self._of_preview(replace(native, shown=shown), lost)
            refusal = refusal or self._tried(file)
            if refusal:
                lost = f"The camera's preview is damaged, and the raw sensor data can't be developed: {refusal}"
                return self._of_preview(replace(native, shown=shown), lost)
        if refusal:
            raise refusal
        return Description(
            format=self.format,
            pages=(replace(developed, native=native),),
            mode="L" if grey else "RGB",
            warnings=(_DEVELOPED_INSTEAD if shown else _DEVELOPED,),
        )

    def _of_preview(self, native: _Native, lost: str) -> Description:
        """Return the description of the preview. `lost` is the damage, if the file is only accepted as damaged."""
        page, preview = native.shown, native.preview
        assert page and preview
        said = f"The image is the camera's preview of {page.width}×{page.height} pixels."
        found, pages = preview.description, (replace(page, native=native),)
        return replace(found, format=self.format, pages=pages, warnings=(said, *found.warnings), lost=lost, mended=None)

    def _refusal(self, header: RawHeader | None) -> CorruptImage | NotAnImage | None:
        """Return the error if, according to the header, the sensor data can't be developed; otherwise None."""
        if header and not header.whole:
            return CorruptImage(f"The {self.format.name} file ends before its last sample.")
        if header and header.misread:
            return UnreadKind(f"Camera raw files ({self.format.name}) with {header.misread} aren't supported.")
        return None

    def _tried(self, file: InputFile) -> CorruptImage | NotAnImage | None:
        """Unpack the sensor data; return the error if that fails, otherwise None."""
        try:
            with _opened(file, self.format) as raw:
                _unpack(raw)
        except (CorruptImage, NotAnImage) as error:
            return error
        return None

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return the EXIF of a file; see `Codec`."""
        with _opened(file, self.format) as raw:
            return raw_exif(file.data, _preview(raw))

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return the decoders of JPEG if the preview is used, otherwise LibRaw."""
        native: _Native = description.first.native
        if native.shown and native.preview:
            of_jpeg = native.preview.codec.decoders(native.preview.description)
            return tuple(replace(one, frames=partial(_preview_frames, one.frames)) for one in of_jpeg)
        return (Decoder(_developed_frames, crops=True, shrinks=(_HALF,)),)


@contextmanager
def _opened(file: InputFile, format: Format) -> Iterator[Any]:
    """Open a file with LibRaw, and convert its exceptions to ours."""
    library = rawpy()
    with zeroed_memory(), library.RawPy() as raw:
        try:
            raw.open_buffer(file.reader())
            yield raw
        except library.LibRawUnsufficientMemoryError as error:
            raise MemoryError(say(error)) from None
        except (library.LibRawFileUnsupportedError, library.LibRawNotImplementedError) as error:
            raise UnreadKind(f"The file is an unsupported variant of camera raw ({format.name}).") from error
        except library.LibRawError as error:
            raise CorruptImage(f"The camera raw file ({format.name}) can't be decoded: {_words(error)}.") from error


def _words(error: Exception) -> str:
    said = error.args[0] if error.args else b""
    return said.decode("latin-1") if isinstance(said, bytes) else str(said)


def _preview(raw: Any) -> bytes | None:
    """Return the largest JPEG in the file, or None."""
    library = rawpy()
    try:
        thumb = raw.extract_thumb()
    except library.LibRawUnsufficientMemoryError:
        raise
    except (library.LibRawError, NotImplementedError):  # there is none, or it is invalid or in another format
        return None
    return thumb.data if thumb.format is library.ThumbFormat.JPEG else None


def _page_of(preview: Source, developed: Page) -> Page | None:
    """Return the page of a preview if it is large enough, otherwise None. Some previews are already upright."""
    width, height = preview.description.first.size
    for (wide, high), orientation in ((developed.size, developed.orientation), (developed.upright, 1)):
        if width >= wide * _FULL_SIZE and height >= high * _FULL_SIZE and (width >= height) == (wide >= high):
            return Page(width, height, orientation=orientation)
    return None


def _developed_size(sizes: Any) -> Size:
    """Return the size of the image that LibRaw develops, which has square pixels."""
    width, height, aspect = sizes.iwidth, sizes.iheight, sizes.pixel_aspect
    if aspect < 1:
        return width, round(height / aspect)
    return round(width * aspect), height


def _crop(sizes: Any) -> Box | None:
    """Return the part that the camera shows, relative to the first visible sample."""
    left, top = sizes.crop_left_margin - sizes.left_margin, sizes.crop_top_margin - sizes.top_margin
    box = Box(left, top, sizes.crop_width, sizes.crop_height)
    inside = left >= 0 and top >= 0 and left + box.width <= sizes.iwidth and top + box.height <= sizes.iheight
    if not inside or min(box.width, box.height) < 1 or sizes.pixel_aspect != 1:
        return None
    return box


def _preview_frames(of_jpeg: DecodesFrames, source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    native: _Native = source.description.first.native
    assert native.preview
    for frame in of_jpeg(native.preview, first, last, how):
        yield _with_exif(frame, source, native, how)


def _unpack(raw: Any) -> None:
    """Decompress the sensor data.

    Raises:
        CorruptImage: There is no sensor data.
    """
    raw.unpack()
    if not raw.raw_image_visible.any():
        raise CorruptImage("The camera raw file has no sensor data.")


def _developed_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    library, native = rawpy(), source.description.first.native
    with _opened(source.file, source.description.format) as raw:
        _unpack(raw)
        samples = raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, gamma=_SRGB_CURVE, output_color=library.ColorSpace.sRGB,
            output_bps=8, user_flip=0, half_size=how.shrink == _HALF,
        )  # fmt: skip
    height, width, bands = samples.shape
    pixels = pyvips.Image.new_from_memory(samples, width, height, bands, "uchar")
    pixels = pixels.copy(interpretation="srgb" if bands > 2 else "b-w")
    yield _with_exif(Frame(_cropped(pixels, native, how.shrink), mode_of(pixels)), source, native, how)


def _cropped(pixels: pyvips.Image, native: _Native, shrink: int) -> pyvips.Image:
    """Return the part that the camera shows. LibRaw doesn't halve images without a mosaic."""
    width, height = native.developed
    if (pixels.width, pixels.height) == (width, height):
        pixels = pixels.shrink(shrink, shrink) if shrink > 1 else pixels
    elif (pixels.width, pixels.height) != (-(-width // shrink), -(-height // shrink)):
        raise CorruptImage(
            f"The developed image has {pixels.width}×{pixels.height} pixels instead of {width}×{height}."
        )
    crop = native.crop
    if crop is None:
        return pixels
    return pixels.crop(crop.left // shrink, crop.top // shrink, crop.width // shrink, crop.height // shrink)


def _with_exif(frame: Frame, source: Source, native: _Native, how: Decoding) -> Frame:
    """Return a frame with the EXIF of the raw file, if it was requested."""
    if "exif" not in how.metadata:
        return frame
    try:
        exif = raw_exif(source.file.data, bytes(native.preview.file.data) if native.preview else None)
    except Exception:  # Pillow fails on invalid EXIF in many ways; the image is fine without it
        return frame
    return replace(frame, pixels=with_metadata(frame.pixels, {METADATA["exif"]: exif.tobytes() if exif else None}))


def _format(name: str, extensions: tuple[str, ...], media_type: str, description: str) -> Format:
    return Format(name=name, extensions=extensions, media_type=f"image/x-{media_type}", description=description)


_OTHERS = ("3fr", "crw", "dcr", "erf", "iiq", "kdc", "mef", "mos", "mrw", "x3f")
CODECS = (
    _Raw(_format("ARW", ("arw", "sr2", "srf"), "sony-arw", "Sony camera raw")),
    _Raw(_format("CR2", ("cr2",), "canon-cr2", "Canon camera raw (2004 to 2018)")),
    _Raw(_format("CR3", ("cr3",), "canon-cr3", "Canon camera raw (since 2018)")),
    _Raw(_format("DNG", ("dng",), "adobe-dng", "Digital Negative")),
    _Raw(_format("NEF", ("nef", "nrw"), "nikon-nef", "Nikon camera raw")),
    _Raw(_format("ORF", ("orf",), "olympus-orf", "Olympus camera raw")),
    _Raw(_format("PEF", ("pef",), "pentax-pef", "Pentax camera raw")),
    _Raw(_format("RAF", ("raf",), "fuji-raf", "Fujifilm camera raw")),
    _Raw(_format("RAW", _OTHERS, "raw", "Camera raw of other manufacturers")),
    _Raw(_format("RW2", ("rw2", "rwl"), "panasonic-rw2", "Panasonic or Leica camera raw")),
    _Raw(_format("SRW", ("srw",), "samsung-srw", "Samsung camera raw")),
)
RAW = {codec.format.name: codec for codec in CODECS}
"""The codecs by name of their format."""
