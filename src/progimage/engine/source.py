"""From a file to what its header says: finds out the format, and holds the size against the limits.

Nothing of what a file claims is believed before `Limits.check` has seen it, and only our own codecs are ever tried, so
that no file can wake a decoder that is not one of them (Ghostscript, for example).
"""

from collections.abc import Iterator

from progimage.engine.codecs import CODECS
from progimage.engine.codecs.codec import Codec, Source
from progimage.engine.codecs.unread import name_of_unread
from progimage.engine.errors import CorruptImage, NotAnImage, UnreadKind, forget_libvips_errors
from progimage.engine.files import InputFile
from progimage.engine.limits import Limits

_HEAD = 64 * 1024


def open_source(file: InputFile, limits: Limits, dpi: float = 96) -> Source:
    """Read the header of an image file.

    Args:
        file: The image file.
        limits: The largest image to accept.
        dpi: How large a drawing is by itself; at 96 it has the pixels that browsers give it.

    Raises:
        NotAnImage: It is in no format, or of no kind of one, that can be read.
        CorruptImage: The header is broken.
        LimitExceeded: The image is too large.
    """
    head = bytes(file.data[:_HEAD])
    if not head:
        raise NotAnImage("The file is empty.")
    forget_libvips_errors()
    begins_as, refusals = [], []
    for codec in _candidates(head):
        try:
            description = codec.describe(file, limits, dpi)
        except UnicodeDecodeError:  # of what libvips says
            raise CorruptImage("The header of the image is broken.") from None
        except UnreadKind as refusal:
            refusals.append(str(refusal))
        except NotAnImage:
            if codec.recognises:
                begins_as.append(codec.format.name)
        else:
            if min(min(page.width, page.height, *page.size) for page in description.pages) < 1:
                raise CorruptImage("By its header the image has no pixels.")
            if description.lost and not limits.damaged:
                raise CorruptImage(description.lost)
            file = description.mended or file
            return Source(file, CODECS[description.format.name], description, limits, dpi)
    if refusals:
        raise UnreadKind(refusals[0])
    unread = name_of_unread(head)
    if unread:
        raise UnreadKind(f"The file is {unread}, which is not read here.")
    if begins_as:
        raise NotAnImage(
            f"The file begins like {' or '.join(begins_as)}, but is of no kind of it that can be read here."
        )
    raise NotAnImage("The file is in no image format that can be read here.")


def _candidates(head: bytes) -> Iterator[Codec]:
    """Go through the codecs that may read a file: those that know its first bytes, then those that know none."""
    readable = [codec for codec in CODECS.values() if codec.format.can_read]
    yield from (codec for codec in readable if _recognises(codec, head))
    yield from (codec for codec in readable if not codec.recognises)


def _recognises(codec: Codec, head: bytes) -> bool:
    try:
        return codec.recognises is not None and codec.recognises(head)
    except Exception:  # some of Pillow's plugins stumble over a file that is too short
        return False
