"""WebP."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyvips

from progimage.engine.codecs import vips
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.codecs.stripping.webp import stripped_webp
from progimage.engine.codecs.webp_mending import mended
from progimage.engine.description import Description
from progimage.engine.errors import CorruptImage, say
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame, normalise
from progimage.engine.limits import Limits
from progimage.engine.metadata import Buffer, Kept
from progimage.engine.modes import mode_of

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

_AT_ONCE = 25_000_000
"""Maximum number of pixels of still images that Pillow reads."""


class _WebP(PillowCodec):
    """Animations are read by libvips, since Pillow loses their transparency, but written by Pillow."""

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header of the file, or of its repaired version; see `Codec`."""
        found = mended(file)
        if found is None:
            return super().describe(file, limits, dpi)
        return found.described(super().describe(found.file, limits, dpi))

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return Pillow first for still images: it takes two thirds of the time, but several times the memory."""
        by_pillow = Decoder(self.frames)
        if description.animated:
            return Decoder(_animation, lazy=True), by_pillow
        page = description.first
        decoders = Decoder(_vips_frames, lazy=True), by_pillow
        return decoders[::-1] if page.width * page.height <= _AT_ONCE else decoders

    def stripped(self, source: Source, kept: Kept) -> list[Buffer] | None:
        """Return the chunks that decoders need; None if there is an orientation, which browsers ignore; see `Codec`."""
        return stripped_webp(source.file.data, kept) if kept.orientation == 1 else None

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write still images with libvips; see `Codec`."""
        if plan.several:
            super().encode(first, rest, plan, target)
            if first.mode == "RGBA":
                _flag_alpha(target)
            return
        spec = plan.spec
        options: dict[str, Any] = {"effort": _of_six(spec.effort) if spec.effort else 4}
        options |= (
            {"lossless": True, "exact": True} if spec.lossless else {"Q": plan.quality or self.format.usual_quality}
        )
        vips.save("webpsave_target", first, plan, target, **options)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return Pillow's options for the spec. For lossless, the quality is the effort."""
        options: dict[str, Any] = {"method": _of_six(plan.spec.effort)} if plan.spec.effort else {}
        return options | ({"lossless": True, "exact": True, "quality": 80} if plan.spec.lossless else {})


def _of_six(effort: int) -> int:
    return round((effort - 1) * 6 / 8)  # libwebp counts from 0 to 6


def _vips_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    return vips.still_frames(source, first, last, lambda page: vips.load("webpload_source", source))


def _animation(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    """Split an animation into frames: libvips returns one tall image, which is decoded from top to bottom."""
    try:
        tall = vips.load("webpload_source", source, n=last)
        height, durations = tall.get("page-height"), tall.get("delay")
        for index in range(first, last):
            frame = tall.crop(0, index * height, tall.width, height).copy_memory()
            yield Frame(normalise(frame), mode_of(frame), durations[index])
    except pyvips.Error as error:
        raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error


def _flag_alpha(target: OutputFile) -> None:
    # libwebp omits the flag if every frame is an opaque part of a transparent canvas; viewers that rely on the
    # flag would show black. The flags are the byte after the header of the chunk VP8X (RFC 9649, section 2.7).
    head = os.pread(target.descriptor, 21, 0)
    if head[12:16] == b"VP8X":
        os.pwrite(target.descriptor, bytes([head[20] | 0x10]), 20)


CODECS = (
    _WebP(
        Format(
            name="WEBP",
            extensions=("webp",),
            media_type="image/webp",
            description="WebP",
            modes=("RGB", "RGBA"),
            icc=True,
            animated=True,
            writes_animations=True,
            max_side=16_383,
            metadata=("exif", "xmp"),
            options=("quality", "effort"),
            usual_quality=80,
        ),
        # Without key frames, each of which would be encoded twice: saves a quarter of the time at the same size.
        save={"quality": 80, "method": 4, "kmin": 0, "kmax": 0},
    ),
)
