"""Pixels whose channels are packed into one number of 16 or 32 bits, as in BMP and TGA."""

from collections.abc import Sequence

import pyvips

_DEEP = 8


def unpacked(words: pyvips.Image, masks: Sequence[int]) -> pyvips.Image:
    """Unpack channels and scale them to 8 bits, or to 16 bits if one of them has more than 8.

    Args:
        words: One unsigned band of 16 or 32 bits.
        masks: Contiguous bits of each channel; 0 for a channel that is black.
    """
    deep = any(mask.bit_count() > _DEEP for mask in masks)
    if words.format == "ushort" and words.width * words.height > 1 << 16:
        every = pyvips.Image.identity(ushort=True, size=1 << 16)
        return words.maplut(_joined([_channel(every, mask, deep=deep) for mask in masks]).copy_memory())
    return _joined([_channel(words, mask, deep=deep) for mask in masks])


def _channel(words: pyvips.Image, mask: int, *, deep: bool) -> pyvips.Image:
    kind, white = ("ushort", 65535) if deep else ("uchar", 255)
    if not mask:
        return pyvips.Image.black(words.width, words.height).cast(kind)
    shift = (mask & -mask).bit_length() - 1
    maximum = mask >> shift
    # Of more than 16 bits, only the most significant ones are used, which fit into a float.
    spare = max(0, maximum.bit_length() - 16)
    values = (words >> (shift + spare)) & (maximum >> spare)
    return (values * (white / (maximum >> spare)) + 0.5).cast(kind)


def _joined(bands: list[pyvips.Image]) -> pyvips.Image:
    return bands[0].bandjoin(bands[1:]) if len(bands) > 1 else bands[0]
