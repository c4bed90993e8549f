"""Common code of all formats that Pillow reads or writes; format-specific code is in the formats' modules."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from progimage.engine.codecs.codec import Decoder, DecodesFrames, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, EngineError, LimitExceeded, NotAnImage, say
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import METADATA, PROFILE, Frame, from_pillow, icc_profile, to_pillow, with_metadata
from progimage.engine.limits import Limits
from progimage.engine.metadata import Buffer, Kept, kept_metadata

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

ORIENTATION_TAG = 0x0112
_NUMBER = re.compile(r"\d+")
_PREFIX = 16
"""Number of bytes that Pillow passes to a plugin to recognise a file."""

ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.init()


class PillowCodec:
    """A format that Pillow reads, writes, or both.

    Args:
        format: Description of the format.
        plugin: Pillow's name of the format, if it differs.
        save: Options that are always passed to Pillow when it writes the format.
    """

    recognises: Callable[[bytes], bool] | None = None

    def __init__(self, format: Format, plugin: str = "", save: Mapping[str, Any] | None = None) -> None:
        self.format = format
        self.plugin = plugin or format.name
        self.save = save or {}
        _, accepts = Image.OPEN.get(self.plugin, (None, None))
        if accepts and self.recognises is None:
            self.recognises = lambda head: accepts(head[:_PREFIX]) is True

    # Reading

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header; see `Codec`."""
        with self.open(file) as image:
            limits.check(*image.size)
            try:
                return self.description_of(file, image, limits)
            except (EngineError, MemoryError):
                raise
            except Exception as error:  # plugins can raise any kind of exception while they parse
                raise CorruptImage(f"The header of the image is invalid: {say(error)}.") from error

    def description_of(self, file: InputFile, image: Image.Image, limits: Limits) -> Description:
        """Return the description of an image that Pillow has opened."""
        pages, frames = self.pages_of(image, limits), self.frames_of(image, limits)
        deep = self.is_deep(file, image)
        return Description(
            format=self.format,
            pages=tuple(pages),
            mode=mode_named(image, deep=deep),
            depth=1 if image.mode == "1" else 32 if image.mode == "F" else 16 if deep else 8,
            floating=image.mode == "F",
            colour=image.info.get("icc_profile") or None,
            frames=frames,
            plays=self.plays(image) if frames > 1 else 0,
        )

    def open(self, file: InputFile) -> Image.Image:
        """Open a file.

        Raises:
            NotAnImage: The file isn't of this format.
            CorruptImage: The file is of this format, but invalid.
        """
        warnings.simplefilter("ignore")
        Image.MAX_IMAGE_PIXELS = None  # callers check our own limits
        try:
            return Image.open(file.reader(), formats=[self.plugin])
        except UnidentifiedImageError:
            raise NotAnImage("The file isn't in a supported image format.") from None
        except MemoryError:
            raise
        except Exception as error:  # plugins can raise any kind of exception while they parse
            raise CorruptImage(f"The header of the image is invalid: {say(error)}.") from error

    def pages_of(self, image: Image.Image, limits: Limits) -> list[Page]:
        """Return the pages of an opened image: all of them if the format has pages, otherwise one."""
        pages = [self.page_of(image)]
        if not self.format.pages:
            return pages
        try:
            while True:
                image.seek(len(pages))
                pages.append(self.page_of(image))
                limits.check(*image.size, len(pages))
        except EOFError:
            return pages

    def page_of(self, image: Image.Image) -> Page:
        """Return the current page of an opened image."""
        return Page(*image.size, orientation=self.orientation(image), native=image.mode)

    def frames_of(self, image: Image.Image, limits: Limits) -> int:
        """Return the number of frames of an opened image."""
        if not self.format.animated:
            return 1
        frames = max(1, getattr(image, "n_frames", 1))
        limits.check(*image.size, frames)
        return frames

    def plays(self, image: Image.Image) -> int:
        """Return how often an animation is played; 0 means endlessly."""
        return int(image.info.get("loop") or 0)

    def orientation(self, image: Image.Image) -> int:
        """Return the orientation of an opened image from EXIF, or from XMP if EXIF has none; 1 to 8."""
        try:
            orientation = image.getexif().get(ORIENTATION_TAG, 1)
        except Exception:  # invalid EXIF is ignored, since the image can be intact
            return 1
        return orientation if orientation in range(1, 9) else 1

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return the EXIF of a file; see `Codec`."""
        with self.open(file) as image:
            return image.getexif()

    def is_deep(self, file: InputFile, image: Image.Image) -> bool:
        """Return whether there are more than 8 bits per channel."""
        return image.mode[0] in "IF"

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return Pillow; see `Codec`."""
        return Decoder(self.frames), Decoder(leniently(self.frames), lenient=True)

    def frames(self, source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
        """Decode with Pillow; see `Decoder.frames`."""
        try:
            with self.open(source.file) as image:
                # The limit for embedded images (such as a PNG in an ICO), whose headers only the plugin reads;
                # Pillow rejects images of more than twice this.
                Image.MAX_IMAGE_PIXELS = source.limits.pixels // 2
                yield from self.frames_in(source, image, first, last, how)
        except Image.DecompressionBombError as error:
            given = int((_NUMBER.search(str(error)) or [0])[0])
            raise LimitExceeded("pixels in an embedded image", given, source.limits.pixels) from error

    def frames_in(self, source: Source, image: Image.Image, first: int, last: int, how: Decoding) -> Iterator[Frame]:
        """Decode frames or pages of an opened image."""
        for index in range(first, last):
            yield self.frame(source, image, index, how)

    def frame(self, source: Source, image: Image.Image, index: int, how: Decoding) -> Frame:
        """Decode one frame or page of an opened image."""
        self.seek(source, image, index)
        source.limits.check(*image.size)
        image.load()
        source.limits.check(*image.size)
        frame = from_pillow(image)
        blobs = metadata_in(image.info, how)
        pixels = with_metadata(frame.pixels, {PROFILE: image.info.get("icc_profile"), **blobs})
        duration = round(image.info.get("duration") or 0) if source.description.animated else 0
        return Frame(pixels, frame.mode, duration)

    def seek(self, source: Source, image: Image.Image, index: int) -> None:
        """Go to a frame or page of an opened image."""
        if index or source.description.animated:
            image.seek(index)

    def stripped(self, source: Source, kept: Kept) -> list[Buffer] | None:
        """Return None, since copying coded pixels isn't supported; see `Codec`."""
        return None

    # Writing

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write frames to a file; see `Codec`."""
        if not plan.several:
            self.write(to_pillow(first, plan.spec.palette), target, **self.options(first, plan))
        elif self.format.writes_animations:
            self.write_animation(first, rest, plan, target)
        else:
            pages = (to_pillow(frame, plan.spec.palette) for frame in rest)
            options = self.options(first, plan)
            self.write(to_pillow(first, plan.spec.palette), target, save_all=True, append_images=pages, **options)

    def write_animation(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write an animation."""
        # The writers look up the duration of a frame after they requested the frame, so the list can grow meanwhile.
        durations = [first.duration]

        def following() -> Iterator[Image.Image]:
            for frame in rest:
                durations.append(frame.duration)
                yield to_pillow(frame, plan.spec.palette)

        images = list(following()) if self.format.collects_frames else following()
        opening = to_pillow(first, plan.spec.palette)
        options = {**self.options(first, plan), **self.loop(plan)}
        self.write(opening, target, save_all=True, append_images=images, duration=durations, **options)

    def loop(self, plan: "Plan") -> dict[str, int]:
        """Return Pillow's option for how often an animation is played; 0 means endlessly."""
        return {"loop": plan.plays}

    def write(self, image: Image.Image, target: OutputFile, **options: Any) -> None:
        """Write an image with Pillow."""
        with target.file() as file:
            image.save(file, self.plugin, **options)

    def options(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return the options for Pillow's `save`: fixed options, those for the spec, and the metadata to keep.

        Args:
            frame: The first frame, after all steps.
            plan: Plan of the rendering.

        Raises:
            InvalidParameter: The encoder can't write this image as requested.
        """
        options = dict(self.save)
        if plan.quality:
            options["quality"] = plan.quality
        options |= self.asked_for(frame, plan)
        return options | self.metadata(frame, plan)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return the encoder's options for the spec, except the quality."""
        return {}

    def metadata(self, frame: Frame, plan: "Plan") -> dict[str, bytes]:
        """Return the metadata to write, by Pillow's names."""
        profile = icc_profile(frame.pixels) if self.format.icc else None
        kept = kept_metadata(frame, plan.spec.kept & set(self.format.metadata))
        return ({"icc_profile": profile} if profile else {}) | kept


def leniently(frames: DecodesFrames) -> DecodesFrames:
    """Return a decoder that also accepts truncated files with Pillow; missing pixels are black."""

    def decode(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
        decoded = frames(source, first, last, how)
        while True:
            # Set only while a frame is decoded, since other images can be decoded in between.
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            try:
                frame = next(decoded, None)
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            if frame is None:
                return
            yield frame

    return decode


def metadata_in(info: Mapping[Any, Any], how: Decoding) -> dict[str, bytes]:
    """Return the requested metadata from Pillow's `info` of an image, by libvips' names."""
    found = {METADATA[kind]: info.get(kind) for kind in how.metadata}
    return {name: data for name, data in found.items() if isinstance(data, bytes)}


def mode_named(image: Image.Image, *, deep: bool) -> str:
    """Return the pixel mode (see `modes.MODES`) of an opened image as far as its header reveals it."""
    mode = image.mode
    if mode in ("1", "F", "CMYK"):
        return mode
    grey = mode == "I" or (mode.startswith(("L", "I;")) and mode != "LAB")
    alpha = mode.upper().endswith("A") or "transparency" in image.info
    return ("L" if grey else "RGB") + "A" * alpha + "16" * deep
