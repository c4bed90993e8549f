"""What the service knows of a container format without opening a file of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A container format.

    Attributes:
        name: Its name, by which `FORMATS` has it.
        extensions: The file name extensions that ask for it, without the dot; the first is the usual one.
        media_type: The media type that its files are delivered with.
        description: What it is, for people.
        can_read: Images in this format can be uploaded.
        modes: The kinds of pixels that it can be written with, see `modes.MODES`; empty if it cannot be written.
        icc: An ICC profile can be written into it.
        cicp: Primaries and transfer function (ITU-T H.273) can be written into it, so that it holds HDR.
        gain_maps: A gain map can be written into it.
        animated: A file of it can hold an animation.
        writes_animations: Animations are written in it.
        pages: A file of it can hold several pages.
        writes_pages: Several pages are written into one file of it.
        vector: It holds drawings, which are drawn at any size.
        content_encoding: The HTTP content coding that its files are in, where the media type is that of what they hold.
        lossless: It has a way to keep every pixel as it was.
        lossless_animations: Its animations can keep every pixel, too.
        lossless_is_small: Its lossless files of drawings are not larger than those of other formats.
        max_side: The largest width or height that it can be written with, in pixels; 0 is no limit.
        metadata: Which other metadata can be written into it: exif, xmp.
        options: Which choices its encoder leaves: quality, effort, progressive, palette, chroma.
        usual_quality: The quality that it is written with where none is asked for; 0: it has none.
        deep_bits: How many bits a channel it is written with where it is more than 8.
        shrinks: Into how many parts a side can be divided while it is decoded, the largest first.
        frames_at_once: As how many frames its encoder needs memory for while it writes an animation.
        collects_frames: Its encoder needs all frames of an animation at once.
        reckoned_as: The name of the format whose measured costs are taken for it; empty: its own.
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
    reckoned_as: str = ""

    @property
    def can_write(self) -> bool:
        """Renditions can be made in this format."""
        return bool(self.modes)

    @property
    def keeps(self) -> tuple[str, ...]:
        """Which metadata can be written into it: exif, icc, xmp."""
        return (*self.metadata, "icc") if self.icc else self.metadata

    @property
    def depths(self) -> tuple[int, ...]:
        """How many bits a channel it can be written with."""
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
        """Return whether its encoder leaves a choice; `options` has them, and `lossless` is one, too."""
        return self.lossless if feature == "lossless" else feature in self.options
