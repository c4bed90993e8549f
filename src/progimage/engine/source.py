"""Opening a file: detect its format, read its header and check the size against the limits.

Nothing that a file claims is trusted before `Limits.check` has checked it. Only our own codecs are tried, so that no
file can trigger any other decoder, such as Ghostscript.
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
        dpi: Resolution that sets the natural size of a drawing; 96 gives the size in browsers.

    Raises:
        NotAnImage: The file is not in a supported format, or a variant of one that isn't supported.
        CorruptImage: The header is invalid.
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
        except UnicodeDecodeError:  # from an error message of libvips
            raise CorruptImage("The header of the image is invalid.") from None
        except UnreadKind as refusal:
            refusals.append(str(refusal))
        except NotAnImage:
            if codec.recognises:
                begins_as.append(codec.format.name)
        else:
            if min(min(page.width, page.height, *page.size) for page in description.pages) < 1:
                raise CorruptImage("According to its header, the image has no pixels.")
            if description.lost and not limits.damaged:
                raise CorruptImage(description.lost)
            file = description.mended or file
            return Source(file, CODECS[description.format.name], description, limits, dpi)
    if refusals:
        raise UnreadKind(refusals[0])
    unread = name_of_unread(head)
    if unread:
        raise UnreadKind(f"The file is {unread}, which isn't supported.")
    if begins_as:
        raise NotAnImage(f"The file starts like {' or '.join(begins_as)}, but isn't a supported variant of it.")
    raise NotAnImage("The file isn't in a supported image format.")


def _candidates(head: bytes) -> Iterator[Codec]:
    """Yield the codecs to try: those that recognise the first bytes, then those that can't recognise files by them."""
    readable = [codec for codec in CODECS.values() if codec.format.can_read]
    yield from (codec for codec in readable if _recognises(codec, head))
    yield from (codec for codec in readable if not codec.recognises)


def _recognises(codec: Codec, head: bytes) -> bool:
    try:
        return codec.recognises is not None and codec.recognises(head)
    except Exception:  # some of Pillow's plugins fail on files that are too short
        return False
