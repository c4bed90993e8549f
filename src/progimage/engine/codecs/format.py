"""Description of a container format, independent of any file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A container format.

    Attributes:
        name: Name of the format, its key in `FORMATS`.
        extensions: File name extensions without the dot, the usual one first.
        media_type: Media type that files are delivered with.
        description: Full name of the format, for humans.
        can_read: Whether images in this format can be uploaded.
        modes: Pixel modes that it can be written with, see `modes.MODES`; empty if it can't be written.
        icc: Whether an ICC profile can be written.
        cicp: Whether primaries and transfer function (ITU-T H.273) can be written, so that it can hold HDR.
        gain_maps: Whether a gain map can be written.
        animated: Whether files can contain an animation.
        writes_animations: Whether animations can be written.
        pages: Whether files can contain several pages.
        writes_pages: Whether several pages can be written to one file.
        vector: Whether files contain drawings, which can be drawn at any size.
        content_encoding: HTTP content coding of the files, if the media type is that of their decoded content.
        lossless: Whether it can be written without loss.
        lossless_animations: Whether animations can be written without loss.
        lossless_is_small: Whether lossless files of drawings are no larger than those of other formats.
        max_side: Maximum width and height that can be written, in pixels; 0 means unlimited.
        metadata: Kinds of metadata other than ICC profiles that can be written: exif, xmp.
        options: Options of the encoder: quality, effort, progressive, palette, chroma.
        usual_quality: Default quality; 0 if the format has no quality.
        deep_bits: Bits per channel of files with more than 8.
        shrinks: Factors that both sides can be divided by while decoding, the largest first.
        frames_at_once: Number of frames that the encoder needs memory for while it writes an animation.
        collects_frames: Whether the encoder needs all frames of an animation at once.
        costs_like: Name of the format whose measured costs apply to this one; empty for its own.
    """

    name: str
    extensions: tuple[str, ...]
    media_type: str
    description: str
    can_read: bool = True
    modes: tuple[str, ...] = ()
    icc: bool = False
    cicp: bool = False
    gain_maps: bool = False
    animated: bool = False
    writes_animations: bool = False
    pages: bool = False
    writes_pages: bool = False
    vector: bool = False
    content_encoding: str = ""
    lossless: bool = True
    lossless_animations: bool = True
    lossless_is_small: bool = True
    max_side: int = 0
    metadata: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    usual_quality: int = 0
    deep_bits: int = 16
    shrinks: tuple[int, ...] = ()
    frames_at_once: int = 1
    collects_frames: bool = False
    costs_like: str = ""

    @property
    def can_write(self) -> bool:
        """Whether renditions can be made in this format."""
        return bool(self.modes)

    @property
    def keeps(self) -> tuple[str, ...]:
        """Kinds of metadata that can be written: exif, icc, xmp."""
        return (*self.metadata, "icc") if self.icc else self.metadata

    @property
    def depths(self) -> tuple[int, ...]:
        """Bits per channel that it can be written with."""
        return (8, self.deep_bits) if any(mode.endswith("16") for mode in self.modes) else (8,)

    @property
    def alpha(self) -> bool:
        """Whether it can be written with an alpha channel."""
        return any(mode.rstrip("16").endswith("A") for mode in self.modes)

    @property
    def only_palettes(self) -> bool:
        """Whether it is always written with a palette."""
        return self.can_write and set(self.modes) <= {"P", "PA"}

    def has(self, feature: str) -> bool:
        """Return whether the encoder has an option: one of `options`, or "lossless"."""
        return self.lossless if feature == "lossless" else feature in self.options
