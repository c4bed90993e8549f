"""What a codec is: all that is particular to one format, behind one small protocol."""

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
    """Reads and writes one format. A module of this package has one for each of its formats, in `CODECS`.

    Attributes:
        format: What is known of the format without a file.
        recognises: Returns whether a file begins like one of this format, told at least its first 64 KiB; None where
            only opening the file tells.
    """

    format: Format
    recognises: Callable[[bytes], bool] | None

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header of a file, and hold it against the limits.

        Args:
            file: The file.
            limits: The largest image to accept.
            dpi: How large a drawing is by itself; at 96 it has the pixels that browsers give it.

        Raises:
            NotAnImage: It is not of this format after all.
            CorruptImage: The header is broken.
            LimitExceeded: The image is too large.
        """

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return the EXIF of a file, if it has one; raises whatever the library does if that is broken."""

    def decoders(self, description: Description) -> "tuple[Decoder, ...]":
        """Return the ways to decode such a file, in the order in which to try them."""

    def stripped(self, source: "Source", kept: Kept) -> Iterable[Buffer] | None:
        """Return the file with its coded pixels as they are, and without metadata but those that stay.

        Args:
            source: The file.
            kept: What stays.

        Returns:
            The parts of the new file, one after the other; None: the codec has no way to do it.

        Raises:
            ValueError: This file can't be taken apart.
        """

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write frames to a file.

        Args:
            first: The first frame or page, of one of the format's modes.
            rest: The others, made as they are asked for.
            plan: What was settled for this rendering.
            target: The file.

        Raises:
            InvalidParameter: It can't be encoded as is asked for.
            Exception: Whatever the library raises; the caller says that the format can't hold the image.
        """


class ReadOnly:
    """What codecs have in common whose format is not written; a base class of such."""

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return None; see `Codec`."""
        return None

    def stripped(self, source: "Source", kept: Kept) -> None:
        """Return None: nothing of the format is made; see `Codec`."""

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Raise CannotRepresent; see `Codec`."""
        raise CannotRepresent("The format is read, but not written.")


@dataclass(frozen=True, slots=True)
class Source:
    """An image file whose header was read and kept to the limits.

    Attributes:
        file: The file; where it is damaged, without the damage that costs no pixel.
        codec: Reads it.
        description: What its header says.
        limits: What it was held against.
        dpi: How large a drawing is by itself.
        stands_for: The width and height, upright, of the image that it is a smaller copy of, if it is one.
        levels: How many levels it has, if it is a pyramid, of which any part can be read by itself.
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
        """Width and height of the first frame or page, before it is turned."""
        return self.description.first.size

    @property
    def upright(self) -> Size:
        """Width and height of the first frame or page once it is turned upright."""
        return self.description.first.upright

    @property
    def vector(self) -> bool:
        """Whether it is a drawing, which can be drawn at any size."""
        return self.description.format.vector


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to decode.

    Attributes:
        shrink: Into how many parts a side is divided, as far as the decoder can: 1, or one of its `shrinks`.
        draw: The width and height that a drawing is drawn at, if that is not its own.
        level: Of a pyramid; 0 is the whole size.
        metadata: Which metadata to take along: exif, xmp.
        hdr: Samples of PQ or HLG stay what they are, and a gain map is applied; else they become sRGB.
        gain_map: Take the gain map along.
    """

    shrink: int = 1
    draw: Size | None = None
    level: int = 0
    metadata: frozenset[str] = field(default_factory=frozenset)
    hdr: bool = False
    gain_map: bool = False

    @property
    def scaled(self) -> bool:
        """The pixels are of another size than the image."""
        return self.shrink > 1 or self.draw is not None or self.level > 0


AS_IT_IS = Decoding()
DecodesFrames = Callable[[Source, int, int, Decoding], Iterator[Frame]]
"""Decodes frames or pages: from the first (counted from 0) up to, and without, the last."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """One way to decode a format.

    Attributes:
        frames: Decodes frames or pages, from the first (counted from 0) up to, and without, the last, one at a time as
            they are asked for. It raises whatever its library does, or CorruptImage. Pixels of linear light, as the
            description says, may be floats of any bands.
        lazy: Pixels are decoded only when they are used, so that an error may come then.
        draws: It draws at any size.
        shrinks: Into how many parts it can divide a side, the largest first.
        crops: It has cropped the picture as the container says.
        turns: It has turned the picture as the container says.
        divides: It has divided premultiplied colours by their alpha.
        lenient: It decodes what it can of an image that has lost pixels, where that was agreed to; it is tried only
            after all that are not.
        blank: From and up to which value the samples are that it puts where pixels are missing.
        refuses: What it says where pixels are lost for certain, so that no other decoder is to be asked.
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
