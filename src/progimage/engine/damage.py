"""What is left of an image that has lost pixels, said in a sentence."""

from dataclasses import replace

import pyvips

from progimage.engine.codecs.codec import Decoder, Source
from progimage.engine.decode import decode, with_decoders
from progimage.engine.errors import CorruptImage, EngineError
from progimage.engine.files import InputFile
from progimage.engine.limits import Limits
from progimage.engine.source import open_source


def explained(error: CorruptImage, file: InputFile, limits: Limits) -> CorruptImage:
    """Return an error that also says whether the image would be accepted as a damaged one.

    Args:
        error: What was said of it.
        file: The image file.
        limits: The largest image to accept.
    """
    try:
        what_is_left(file, replace(limits, damaged=True))
    except EngineError:
        return error
    return CorruptImage(f"{str(error).rstrip('.')}. With damaged=accept, what can be decoded of it is kept.")


def what_is_left(file: InputFile, limits: Limits) -> str:
    """Return a sentence on what is missing of an image that can't be decoded as a whole.

    Args:
        file: The image file.
        limits: The largest image to accept, and that a damaged one is.

    Raises:
        CorruptImage: Nothing of it can be decoded.
        NotAnImage, LimitExceeded: See `open_source`.
    """
    source = open_source(file, limits)
    above, below, height = with_decoders(source, lambda decoder: _blank_rows(source, decoder))
    if above == height:
        raise CorruptImage("Nothing of the image can be decoded.")
    if above or below:
        where, rows = ("first", above) if above > below else ("last", below)
        are = f"row of {height} is" if rows == 1 else f"{rows} of {height} rows are"
        return f"The image is damaged: the {where} {are} missing, and blank here."
    if source.description.lost:
        return source.description.lost
    count = source.description.count
    whole = _whole_frames(source) if count > 1 else 0
    if whole:
        kind = "frames" if source.description.animated else "pages"
        return f"The image is damaged: the first {whole} of its {count} {kind} are whole, what follows is not."
    return "The image is damaged: a part of its pixels can't be decoded."


def _blank_rows(source: Source, decoder: Decoder) -> tuple[int, int, int]:
    """Decode all frames; return how many rows at the top and the bottom of the first are blank, and how many it has."""
    frames = decode(source, decoder, 0, source.description.count)
    pixels = next(frames).pixels
    low, high = decoder.blank
    blank = ((pixels >= low) & (pixels <= high)).bandand().copy_memory()
    for frame in frames:
        frame.pixels.avg()
    if not decoder.lenient:  # it has all rows, though something else may be missing
        return 0, 0, blank.height
    _, top, _, height = blank.find_trim(background=[255], threshold=1, line_art=True)
    return top if height else blank.height, blank.height - top - height if height else 0, blank.height


def _whole_frames(source: Source) -> int:
    """Return how many frames or pages can be decoded before the first that can't."""
    decoders = source.codec.decoders(source.description)
    return max(_counted(source, decoder) for decoder in decoders if not decoder.lenient)


def _counted(source: Source, decoder: Decoder) -> int:
    count = 0
    try:
        for frame in decode(source, decoder, 0, source.description.count):
            frame.pixels.avg()
            count += 1
    except (CorruptImage, pyvips.Error, UnicodeDecodeError):
        return count
    return count
