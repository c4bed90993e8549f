"""What AVIF and HEIC files say of their picture; the files are made here, of boxes alone."""

import contextlib
import io
import struct
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from progimage.engine.codecs.isobmff import PrimaryItem, primary_item
from progimage.engine.colorimetry import UNKNOWN_LIGHT, Cicp

ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"
GAIN_MAP = b"urn:com:apple:photo:2020:aux:hdrgainmap\0"


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


ISPE = full(b"ispe", struct.pack(">II", 320, 280))
PIXI = full(b"pixi", bytes([3, 10, 10, 10]))
AV1C = box(b"av1C", b"\x81\0\x0c\0")
AUX_ALPHA = full(b"auxC", ALPHA)
AUX_GAIN_MAP = full(b"auxC", GAIN_MAP)
PQ = box(b"colr", b"nclx", struct.pack(">HHHB", 9, 16, 9, 0))
ICC = box(b"colr", b"prof", b"a profile")
CLLI = box(b"clli", struct.pack(">HH", 703, 165))
MDCV = box(b"mdcv", struct.pack(">8HII", *[0] * 8, 10_000_000, 50))


def clap(*numbers: int) -> bytes:
    return box(b"clap", struct.pack(">8i", *numbers))


def references(kind: bytes, source: int, *targets: int, wide: bool = False) -> bytes:
    each = "I" if wide else "H"
    return box(kind, struct.pack(f">{each}H{len(targets)}{each}", source, len(targets), *targets))


def still(
    own: Iterable[bytes],
    others: dict[int, list[bytes]] | None = None,
    iref: bytes = b"",
    kinds: dict[int, bytes] | None = None,
    *,
    wide: bool = False,
    kind: bytes = b"av01",
    primary: int = 1,
) -> bytes:
    """A file whose item 1 has some properties of its own, and others theirs; `wide` takes the longer forms of boxes."""
    items = {1: list(own), **(others or {})}
    shared = [prop for props in items.values() for prop in props]
    each = "I" if wide else "H"
    associations, index = b"", 0
    for item, props in items.items():
        numbers = range(index + 1, index + len(props) + 1)
        index += len(props)
        marks = b"".join(struct.pack(">H", number | 0x8000) if wide else bytes([number | 0x80]) for number in numbers)
        associations += struct.pack(f">{each}B", item, len(props)) + marks
    entries = {1: kind, **dict.fromkeys(others or {}, b"av01"), **(kinds or {})}
    infes = [
        full(b"infe", struct.pack(f">{each}H4s", item, 0, code), b"name\0", version=3 if wide else 2)
        for item, code in entries.items()
    ]
    meta = full(
        b"meta",
        full(b"hdlr", bytes(4), b"pict", bytes(13)),
        full(b"pitm", struct.pack(f">{each}", primary), version=wide),
        full(b"iinf", struct.pack(f">{each}", len(infes)), *infes, version=wide),
        full(b"iref", iref, version=wide) if iref else b"",
        box(
            b"iprp",
            box(b"ipco", *shared),
            full(b"ipma", struct.pack(">I", len(items)), associations, version=wide, flags=wide),
        ),
    )
    return box(b"ftyp", b"avif", bytes(4), b"mif1") + box(b"free", b"?") + meta + box(b"mdat", bytes(100))


@pytest.mark.parametrize("wide", [False, True])
def test_everything_that_is_told_of_a_picture(wide: bool) -> None:
    own = [ISPE, PIXI, AV1C, PQ, ICC, CLLI, MDCV, clap(180, 1, 100, 1, -30, 1, -10, 1)]
    own += [box(b"irot", b"\x01"), box(b"imir", b"\x01")]
    iref = references(b"auxl", 2, 1, wide=wide) + references(b"prem", 1, 2, wide=wide)
    told = primary_item(still(own, {2: [ISPE, AUX_ALPHA]}, iref, wide=wide))
    assert replace(told, light=UNKNOWN_LIGHT) == PrimaryItem(
        kind="av01",
        size=(320, 280),
        depths=(10, 10, 10),
        icc=b"a profile",
        cicp=Cicp(9, 16, 9, False),
        light=UNKNOWN_LIGHT,
        crop=(40, 80, 180, 100),
        turn=1,
        mirror=1,
        alpha=True,
        premultiplied=True,
    )
    assert (told.light.content, told.light.mastering) == (703, 1000)
    assert told.space == b"a profile" and told.orientation == 7


def test_a_plain_picture() -> None:
    told = primary_item(still([ISPE]))
    assert told == PrimaryItem("av01", (320, 280)) and told.space is None and told.orientation == 1


def test_the_space_is_that_of_the_decoded_pixels() -> None:
    assert primary_item(still([PQ])).space == Cicp(9, 16)
    unknown = box(b"colr", b"nclx", struct.pack(">HHHB", 2, 2, 2, 0x80))
    assert primary_item(still([unknown])).space is None
    assert primary_item(still([box(b"colr", b"nclc", struct.pack(">HHH", 1, 13, 1))])).cicp == Cicp(1, 13, 1, False)


@pytest.mark.parametrize(
    ("aperture", "crop"),
    [
        ((320, 1, 280, 1, 0, 1, 0, 1), (0, 0, 320, 280)),
        ((319, 1, 279, 1, -1, 2, 1, 2), (0, 1, 319, 279)),
        ((638, 2, 558, 2, -1, 2, 1, 2), (0, 1, 319, 279)),
        ((319, 1, 279, 1, 0, 1, 0, 1), None),  # half a pixel
        ((180, 1, 100, 1, 71, 1, 0, 1), None),  # beyond the edge
        ((180, 0, 100, 1, 0, 1, 0, 1), None),
        ((180, 1, 100, 1, 0, -1, 0, 1), None),
        ((0, 1, 100, 1, 0, 1, 0, 1), None),
    ],
)
def test_a_crop_is_of_whole_pixels_within(aperture: tuple[int, ...], crop: tuple[int, ...] | None) -> None:
    assert primary_item(still([ISPE, clap(*aperture)])).crop == crop


# What Exif says the same, as libavif has it (`avifImageIrotImirToExifOrientation`).
@pytest.mark.parametrize(
    ("turn", "mirror", "orientation"),
    [(0, 1, 2), (2, None, 3), (0, 0, 4), (1, 0, 5), (3, None, 6), (3, 0, 7), (1, None, 8), (2, 1, 4), (3, 1, 5)],
)
def test_turns_have_an_orientation(turn: int, mirror: int | None, orientation: int) -> None:
    own = [ISPE, box(b"irot", bytes([turn]))] + ([] if mirror is None else [box(b"imir", bytes([mirror]))])
    told = primary_item(still(own))
    assert told.orientation == orientation
    assert _turned(turn, mirror) == _by_exif(orientation)


def _turned(turn: int, mirror: int | None) -> bytes:
    picture = Image.frombytes("L", (3, 2), bytes(range(6))).rotate(90 * turn, expand=True)
    flips = {0: Image.Transpose.FLIP_TOP_BOTTOM, 1: Image.Transpose.FLIP_LEFT_RIGHT}
    return (picture if mirror is None else picture.transpose(flips[mirror])).tobytes()


def _by_exif(orientation: int) -> bytes:
    picture = Image.frombytes("L", (3, 2), bytes(range(6)))
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    return picture.transpose(turns[orientation]).tobytes()


def test_a_grid_has_what_is_told_of_the_whole() -> None:
    others = {2: [full(b"ispe", struct.pack(">II", 64, 64))], 3: [AUX_ALPHA], 4: []}
    iref = references(b"dimg", 1, 2, 4) + references(b"auxl", 3, 2)  # the alpha of a tile
    told = primary_item(still([ISPE, PQ], others, iref, kind=b"grid"))
    assert (told.kind, told.size, told.alpha) == ("grid", (320, 280), True)


def test_gain_maps() -> None:
    assert primary_item(still([ISPE], {2: []}, kinds={2: b"tmap"})).gain_map
    told = primary_item(still([ISPE], {2: [AUX_GAIN_MAP]}, references(b"auxl", 2, 1)))
    assert told.gain_map and not told.alpha


def test_a_sequence_without_a_still_picture() -> None:
    entry = box(b"av01", bytes(24), struct.pack(">HH", 320, 280), bytes(50), PQ, clap(180, 1, 100, 1, 0, 1, 0, 1))
    table = box(b"stbl", full(b"stsd", struct.pack(">I", 1), entry))

    def track(handler: bytes) -> bytes:
        return box(b"trak", box(b"mdia", full(b"hdlr", bytes(4), handler, bytes(13)), box(b"minf", table)))

    told = primary_item(box(b"ftyp", b"avis", bytes(4)) + box(b"moov", track(b"auxv"), track(b"pict")))
    assert told == PrimaryItem(
        "av01", (320, 280), cicp=Cicp(9, 16, 9, False), crop=(70, 90, 180, 100), alpha=True, sequence=True
    )
    with pytest.raises(ValueError):
        primary_item(box(b"ftyp", b"avis", bytes(4)) + box(b"moov", track(b"soun")))


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_files_of_encoders(format: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (48, 32), (9, 99, 199, 99)).save(buffer, format)
    told = primary_item(buffer.getvalue())
    assert told.kind in ("av01", "hvc1") and told.depths == (8, 8, 8) and told.alpha
    assert told.crop == (0, 0, 48, 32) or told.size == (48, 32)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        box(b"ftyp", b"avif"),
        still([ISPE], primary=7),
        still([box(b"ispe", b"short")]),
        still([struct.pack(">I4s", 3, b"ispe")]),
        still([ISPE])[:150],
        still([ISPE], iref=bytes(1_000_001)),
        box(b"ftyp", b"avif") + box(b"free") * 200_000 + still([ISPE]),
    ],
)
def test_what_is_malformed_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        primary_item(data)


@settings(max_examples=400)
@given(st.binary(min_size=1, max_size=12), st.integers(0, 700), st.integers(0, 9))
def test_nothing_else_breaks_it(noise: bytes, at: int, gone: int) -> None:
    iref = references(b"auxl", 2, 1) + references(b"prem", 1, 2)
    data = still([ISPE, PIXI, PQ, ICC, CLLI, MDCV, clap(180, 1, 100, 1, -30, 1, -10, 1)], {2: [AUX_ALPHA]}, iref)
    with contextlib.suppress(ValueError):
        primary_item(data[:at] + noise + data[at + gone :])
