"""The codec protocol: a small interface to everything specific to one format."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from progimage.engine.codecs.format import Format
from progimage.engine.description import Description
from progimage.engine.errors import CannotRepresent
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame
from progimage.engine.geometry import Size
from progimage.engine.limits import Limits
from progimage.engine.metadata import Buffer, Kept

if TYPE_CHECKING:
    from progimage.engine.plan import Plan


class Codec(Protocol):
    """Reads and writes one format. Modules of this package list the codecs of their formats in `CODECS`.

    Attributes:
        format: Description of the format.
        recognises: Returns whether a file starts like this format. Its argument is the first 64 KiB of the file, or
            more. None if files of the format can only be recognised by opening them.
    """

    format: Format
    recognises: Callable[[bytes], bool] | None

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header of a file, and check it against the limits.

        Args:
            file: The file.
            limits: The largest image to accept.
            dpi: Resolution that sets the natural size of a drawing; 96 gives the size in browsers.

        Raises:
            NotAnImage: The file isn't of this format after all.
            CorruptImage: The header is invalid.
            LimitExceeded: The image is too large.
        """

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return the EXIF of a file, or None. Invalid EXIF raises whatever the library raises."""

    def decoders(self, description: Description) -> "tuple[Decoder, ...]":
        """Return the decoders for a file, in the order in which to try them."""

    def stripped(self, source: "Source", kept: Kept) -> Iterable[Buffer] | None:
        """Return the file with its coded pixels unchanged, and only with the metadata to keep.

        Args:
            source: The file.
            kept: The metadata to keep.

        Returns:
            The parts of the new file in order; None if the codec doesn't support this.

        Raises:
            ValueError: This file can't be taken apart.
        """

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write frames to a file.

        Args:
            first: The first frame or page, in one of the format's modes.
            rest: The remaining frames or pages, rendered lazily.
            plan: Plan of the rendering.
            target: The file to write.

        Raises:
            InvalidParameter: The image can't be encoded as requested.
            Exception: Whatever the library raises. The calling function reports that the format can't hold the image.
        """


class ReadOnly:
    """Base class of codecs whose format can't be written."""

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return None; see `Codec`."""
        return None

    def stripped(self, source: "Source", kept: Kept) -> None:
        """Return None, since the format can't be written; see `Codec`."""

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Raise CannotRepresent; see `Codec`."""
        raise CannotRepresent("Images can't be written in this format.")


@dataclass(frozen=True, slots=True)
class Source:
    """An image file whose header was read and checked against the limits.

    Attributes:
        file: The file. Damage that costs no pixels has been repaired.
        codec: Codec of the format.
        description: Description from the header.
        limits: The limits that it was checked against.
        dpi: Resolution that sets the natural size of a drawing.
        stands_for: Upright width and height of the original, if the file is a rung of its ladder.
        levels: Number of levels, if the file is a pyramid; otherwise 0.
    """

    file: InputFile
    codec: Codec
    description: Description
    limits: Limits
    dpi: float = 96
    stands_for: Size | None = None
    levels: int = 0

    @property
    def size(self) -> Size:
        """Width and height of the first frame or page, before it is turned upright."""
        return self.description.first.size

    @property
    def upright(self) -> Size:
        """Width and height of the first frame or page, upright."""
        return self.description.first.upright

    @property
    def vector(self) -> bool:
        """Whether the image is a drawing, which can be drawn at any size."""
        return self.description.format.vector


@dataclass(frozen=True, slots=True)
class Decoding:
    """Options for decoding.

    Attributes:
        shrink: Factor to divide both sides by: 1, or one of the decoder's `shrinks`.
        draw: Width and height to draw a drawing at; None means its natural size.
        level: Level of a pyramid; 0 is full size.
        metadata: Kinds of metadata to read: exif, xmp.
        hdr: Whether to keep PQ and HLG samples and to apply a gain map. Otherwise samples are converted to sRGB.
        gain_map: Whether to read the gain map.
    """

    shrink: int = 1
    draw: Size | None = None
    level: int = 0
    metadata: frozenset[str] = field(default_factory=frozenset)
    hdr: bool = False
    gain_map: bool = False

    @property
    def scaled(self) -> bool:
        """Whether the decoded size differs from the size of the image."""
        return self.shrink > 1 or self.draw is not None or self.level > 0


AS_IT_IS = Decoding()
DecodesFrames = Callable[[Source, int, int, Decoding], Iterator[Frame]]
"""Decodes the frames or pages from index `first` (from 0) up to, but not including, `last`."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """One way to decode a format.

    Attributes:
        frames: Decodes frames or pages lazily, one at a time. It raises CorruptImage or whatever its library raises.
            Linear pixels, according to the description, can be floats with any number of bands.
        lazy: Whether pixels are decoded only when they are used, so that errors can be raised only then.
        draws: Whether it can draw at any size.
        shrinks: Factors that it can divide both sides by, the largest first.
        crops: Whether it crops the image as the container specifies.
        turns: Whether it rotates the image as the container specifies.
        divides: Whether it divides premultiplied colours by alpha.
        lenient: Whether it decodes as much as possible of an image that has lost pixels. Lenient decoders are tried
            last, and only if damaged images are accepted.
        blank: Range of the sample values that it uses for missing pixels.
        refuses: Matches error messages that mean that pixels are lost for certain, so that no other decoder is tried.
    """

    frames: DecodesFrames
    lazy: bool = False
    draws: bool = False
    shrinks: tuple[int, ...] = ()
    crops: bool = False
    turns: bool = False
    divides: bool = False
    lenient: bool = False
    blank: tuple[int, int] = (0, 0)
    refuses: re.Pattern[str] | None = None
