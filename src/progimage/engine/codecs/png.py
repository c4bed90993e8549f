"""PNG, and animations in it (APNG)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from PIL import Image

from progimage.engine.codecs import vips
from progimage.engine.codecs.apng import Apng, read_apng
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import ORIENTATION_TAG, PillowCodec, leniently, metadata_in
from progimage.engine.codecs.png_chunks import SIGNATURE, XMP, chunk, chunks, text_of
from progimage.engine.codecs.png_header import png_colour
from progimage.engine.codecs.png_mending import mended
from progimage.engine.codecs.samples import imagecodecs
from progimage.engine.codecs.stripping.png import stripped_png
from progimage.engine.colorimetry import Cicp
from progimage.engine.description import Description
from progimage.engine.errors import InvalidParameter
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame, from_pillow, with_metadata, with_one_palette
from progimage.engine.libraries import Library
from progimage.engine.limits import Limits
from progimage.engine.metadata import Buffer, Kept, loaded_exif
from progimage.engine.modes import OF_8_BITS, OF_16_BITS
from progimage.engine.xmp import xmp_orientation

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

_PALETTES = ("P", "PA")
_HEADER = 33
"""Length of the signature and the first chunk."""
_BIT_DEPTH = 24
"""Offset of the bits per sample in the header (PNG third edition, section 11.2.1)."""


def _load_writer() -> ModuleType:
    imagecodecs()
    return import_module("progimage.engine.codecs.png_palette")


_writer = Library("png_palette", _load_writer)
"""Loads our module that writes palettes, which uses numpy."""


class _Png(PillowCodec):
    """Uses libvips for still images, our own code to write palettes and read animations, and Pillow to write them."""

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header of the file, or of its repaired version; see `Codec`."""
        found = mended(file, limits)
        if found is None:
            return super().describe(file, limits, dpi)
        description = super().describe(found.file, limits, dpi)
        # Pillow doesn't read large profiles.
        colour = png_colour(bytes(file.data[: _read(file.data).pixels]))
        return found.described(replace(description, colour=colour.space, light=colour.light))

    def description_of(self, file: InputFile, image: Image.Image, limits: Limits) -> Description:
        """Return the description, including chunks that Pillow ignores or reads only after all pixels."""
        found = super().description_of(file, image, limits)
        known = _read(file.data)
        colour = png_colour(bytes(file.data[: known.pixels]))
        apng = read_apng(file.data, limits)
        page = replace(found.first, orientation=_orientation(known), native=apng or image.mode)
        return replace(
            found,
            pages=(page,),
            mode=("RGBA" if apng.clear else "RGB") if apng else found.mode,
            depth=8 if apng else found.depth,
            colour=colour.space,
            light=colour.light,
            frames=len(apng.parts) if apng else 1,
            plays=apng.plays if apng else 0,
        )

    def frames_of(self, image: Image.Image, limits: Limits) -> int:
        """Return the number of frames in the header. The default image isn't necessarily one of them."""
        frames = max(1, getattr(image, "n_frames", 1) - bool(getattr(image, "default_image", False)))
        limits.check(*image.size, frames)
        return frames

    def orientation(self, image: Image.Image) -> int:
        """Return 1, since `description_of` determines the orientation."""
        return 1

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return the EXIF of a file, which can come after the pixels."""
        exif = _read(file.data).exif
        return loaded_exif(exif) if exif else None

    def is_deep(self, file: InputFile, image: Image.Image) -> bool:
        """Return whether there are 16 bits per sample, which Pillow's mode doesn't reveal for colour images."""
        return file.data[_BIT_DEPTH] == 16

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return libvips, then Pillow; for animations our own decoder."""
        if description.animated:
            return Decoder(self._animation), Decoder(leniently(self._animation), lenient=True)
        by_vips, anyhow = partial(_vips_frames, fail_on="error"), partial(_vips_frames, fail_on="none")
        return Decoder(by_vips, lazy=True), Decoder(self.frames), Decoder(anyhow, lazy=True, lenient=True)

    def _animation(self, source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
        apng: Apng = source.description.first.native
        with self.open(source.file) as image:
            blobs = metadata_in(image.info, how)
        for index, canvas in enumerate(apng.canvases(last)):
            if index >= first:
                frame = from_pillow(canvas if apng.clear else canvas.convert("RGB"))
                yield Frame(with_metadata(frame.pixels, blobs), frame.mode, apng.parts[index].duration)

    def stripped(self, source: Source, kept: Kept) -> list[Buffer]:
        """Return the chunks that decoders need; see `Codec`."""
        return stripped_png(source.file.data, kept)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write still images without a palette with libvips; see `Codec`."""
        if plan.several and first.mode in _PALETTES:
            self._write_with_one_palette([first, *rest], plan, target)
            return
        if plan.several:
            super().encode(first, rest, plan, target)
            return
        if first.mode in _PALETTES:
            self._write_palette(first, plan, target)
            return
        spec = plan.spec
        options: dict[str, Any] = {"compression": spec.effort or 6, "filter": "all"}
        if first.mode == "1":
            options |= {"bitdepth": 1, "filter": "none"}
        if spec.progressive:
            options["interlace"] = True
        vips.save("pngsave_target", first, plan, target, **options)
        if first.hdr:
            _tell_space(first.hdr, target)

    def _write_palette(self, frame: Frame, plan: "Plan", target: OutputFile) -> None:
        self.asked_for(frame, plan)  # raises InvalidParameter for unsupported options
        spec, metadata = plan.spec, self.metadata(frame, plan)
        with target.file() as file:
            _writer().write_png_with_palette(frame, file.write, spec.palette or 256, spec.effort, metadata)

    def _write_with_one_palette(self, frames: list[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write an animation whose frames share a palette, since a file has only one (section 11.2.2)."""
        opening, *following = with_one_palette(frames, plan.spec.palette)
        options = {**self.options(frames[0], plan), **self.loop(plan)}
        durations = [frame.duration for frame in frames]
        self.write(opening, target, save_all=True, append_images=following, duration=durations, **options)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return Pillow's options for the spec."""
        if plan.spec.progressive:
            raise InvalidParameter("progressive", "true", "only for still images without a palette")
        usual = 9 if frame.mode in _PALETTES else 6
        return {"compress_level": plan.spec.effort or usual}


@dataclass(frozen=True, slots=True)
class _Chunks:
    """Positions and contents of some chunks.

    Attributes:
        pixels: Offset of the first pixels in the file.
        exif: The EXIF, anywhere in the file.
        xmp: The XMP, anywhere in the file.
    """

    pixels: int
    exif: bytes | None
    xmp: bytes | None


def _read(data: memoryview) -> _Chunks:
    """Read a file's chunks up to its end or the first invalid chunk (PNG third edition, section 5.3)."""
    pixels, end, found = 0, len(SIGNATURE), dict[bytes, bytes]()
    for at, kind, body in chunks(data):
        end = at + 12 + len(body)
        if kind == b"IDAT":
            pixels = pixels or at
        elif kind == b"eXIf":
            found.setdefault(kind, bytes(body))
        elif kind == b"iTXt" and bytes(body[: len(XMP)]) == XMP:
            found.setdefault(kind, text_of(bytes(body[len(XMP) :])))
    return _Chunks(pixels or min(end, len(data)), found.get(b"eXIf"), found.get(b"iTXt"))


def _orientation(known: _Chunks) -> int:
    """Return the orientation from EXIF, or from XMP if EXIF has none; 1 to 8."""
    try:
        exif = loaded_exif(known.exif).get(ORIENTATION_TAG) if known.exif else None
    except Exception:  # Pillow fails on invalid EXIF in many ways; treat it as missing
        exif = None
    said = exif or (xmp_orientation(known.xmp) if known.xmp else None)
    return int(said) if said in range(1, 9) else 1  # type: ignore[arg-type]


def _vips_frames(source: Source, first: int, last: int, how: Decoding, fail_on: str) -> Iterator[Frame]:
    return vips.still_frames(source, first, last, lambda page: vips.load("pngload_source", source, fail_on))


def _tell_space(space: Cicp, target: OutputFile) -> None:
    """Insert a chunk with the colour space after the header of a file (section 11.3.2.6)."""
    data = bytes(target.written().data)
    told = chunk(b"cICP", bytes([space.primaries, space.transfer, 0, 1]))
    with target.file() as file:
        file.write(data[:_HEADER] + told + data[_HEADER:])


CODECS = (
    _Png(
        Format(
            name="PNG",
            extensions=("png", "apng"),
            media_type="image/png",
            description="Portable Network Graphics",
            modes=("1", *_PALETTES, *OF_8_BITS, *OF_16_BITS),
            icc=True,
            cicp=True,
            animated=True,
            writes_animations=True,
            metadata=("exif", "xmp"),
            options=("effort", "progressive", "palette"),
            collects_frames=True,  # the writer makes two passes
        )
    ),
)
