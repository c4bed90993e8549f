"""HDR: light as samples of PQ, and how bright a picture gets; by the published functions."""

import math

import numpy as np
import pytest
import pyvips

from progimage.engine.colorimetry import BT709, BT2020, HLG, PQ, Cicp
from progimage.engine.tone_mapping import (
    BT2020_PQ,
    REFERENCE_WHITE,
    USUAL_PEAK,
    Shoulder,
    hlg_to_nits,
    hlg_to_scene,
    nits_to_pq,
    peak_of,
    pq_encoded,
    pq_to_nits,
    tone_mapped,
)


def floats(*values: float) -> pyvips.Image:
    return pyvips.Image.new_from_memory(np.array(values, np.float32).tobytes(), 1, 1, len(values), "float")


def samples(*values: int, deep: bool = True, size: int = 2) -> pyvips.Image:
    array = np.full((size, size, len(values)), values, np.uint16 if deep else np.uint8)
    made = pyvips.Image.new_from_memory(array.tobytes(), size, size, len(values), "ushort" if deep else "uchar")
    kinds = ("grey16", "rgb16") if deep else ("b-w", "srgb")
    return made.copy(interpretation=kinds[len(values) > 2])


def first(image: pyvips.Image) -> list[float]:
    return list(image.getpoint(0, 0))


@pytest.mark.parametrize(
    ("nits", "sample"),
    [
        (0, 0),
        (0.1, 0.0622),
        (1, 0.1499),
        (5, 0.2482),
        (100, 0.5081),
        (203, 0.5807),
        (500, 0.6765),
        (1000, 0.7518),
        (4000, 0.9026),
        (10_000, 1),
    ],
)
def test_pq_has_the_published_values(nits: float, sample: float) -> None:
    """ITU-R BT.2408, table 1 and annex; SMPTE ST 2084."""
    assert nits_to_pq(nits) == pytest.approx(sample, abs=1e-3)
    assert pq_to_nits(nits_to_pq(nits)) == pytest.approx(nits, rel=1e-6, abs=1e-6)


def test_what_is_darker_than_black_is_black() -> None:
    assert pq_to_nits(-0.5) == 0 == pq_to_nits(0) and nits_to_pq(-5) == nits_to_pq(0) == pytest.approx(0, abs=1e-6)
    assert hlg_to_scene(-0.5) == 0 == hlg_to_nits(-0.5)


@pytest.mark.parametrize(
    ("sample", "scene"),
    [
        (0, 0),
        (0.25, 0.25**2 / 3),
        (0.5, 1 / 12),
        (0.75, 0.26496),
        (0.9, (math.exp((0.9 - 0.55991073) / 0.17883277) + 0.28466892) / 12),
        (1, 1),
    ],
)
def test_hlg_has_the_published_values(sample: float, scene: float) -> None:
    """ITU-R BT.2100, table 5: a square root below a twelfth, a logarithm above it."""
    assert hlg_to_scene(sample) == pytest.approx(scene, abs=2e-3)
    assert hlg_to_nits(sample) == pytest.approx(1000 * scene**1.2, rel=5e-3, abs=1e-9)
    if sample > 0.5:
        assert math.isclose(0.17883277 * math.log(12 * hlg_to_scene(sample) - 0.28466892) + 0.55991073, sample)


@pytest.mark.parametrize("light", [0, 0.1, 1, 4, REFERENCE_WHITE])
def test_light_is_encoded_where_one_is_the_white_of_paper(light: float) -> None:
    sample = round(nits_to_pq(light * 203) * 65535)
    assert first(pq_encoded(floats(light))) == pytest.approx([min(sample, 65535)], abs=2)
    white = pq_encoded(floats(light, light, light))
    assert first(white) == pytest.approx([min(sample, 65535)] * 3, abs=40)  # whatever the primaries
    assert (white.format, white.interpretation, pq_encoded(floats(light)).interpretation) == (
        "ushort",
        "rgb16",
        "grey16",
    )


def test_primaries_become_those_of_bt_2020() -> None:
    red = [value / 65535 for value in first(pq_encoded(floats(1, 0, 0)))]
    published = (0.6274, 0.0691, 0.0164)  # ITU-R BT.2087: red of BT.709
    assert [pq_to_nits(value) / 203 for value in red] == pytest.approx(published, abs=2e-3)
    assert first(pq_encoded(floats(1, 0, 0), BT2020))[0] == pytest.approx(nits_to_pq(203) * 65535, abs=5)
    assert first(pq_encoded(floats(1, 0, 0), BT2020))[1] < 200
    assert first(pq_encoded(floats(1, 0, 0), BT709)) == first(pq_encoded(floats(1, 0, 0)))


def test_what_no_sample_can_say_is_clipped() -> None:
    top = nits_to_pq(10_000) * 65535
    assert first(pq_encoded(floats(1e9))) == pytest.approx([top], abs=1) == first(pq_encoded(floats(float("inf"))))
    black = first(pq_encoded(floats(0)))
    assert first(pq_encoded(floats(-5))) == black == first(pq_encoded(floats(float("nan"))))
    assert first(pq_encoded(floats(float("-inf")))) == black
    assert first(pq_encoded(floats(float("inf"), 0.0, 0.0)))[0] == pytest.approx(top, abs=1)
    # 10,000 cd/m² is 49.26 times the white of paper.
    assert (
        first(pq_encoded(floats(49.3))) == pytest.approx([top], abs=1) and first(pq_encoded(floats(40)))[0] < top - 500
    )


@pytest.mark.parametrize(
    ("alpha", "sample"), [(0, 0), (0.5, 32768), (1, 65535), (2, 65535), (-1, 0), (float("nan"), 0)]
)
def test_alpha_is_in_proportion(alpha: float, sample: int) -> None:
    assert first(pq_encoded(floats(0.5, alpha)))[1] == sample
    assert first(pq_encoded(floats(0.5, 0.5, 0.5, alpha)))[3] == sample
    assert pq_encoded(floats(0.5, alpha)).interpretation == "grey16" and pq_encoded(floats(1, 1, 1, alpha)).bands == 4


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.75, 1])
def test_the_peak_of_an_even_picture_is_its_light(part: float, bands: int, deep: bool) -> None:
    top = 65535 if deep else 255
    value = round(part * top)
    picture = samples(*[value] * bands, deep=deep)
    assert peak_of(picture, Cicp(9, PQ)) == pytest.approx(pq_to_nits(value / top), rel=1e-6)
    assert peak_of(picture, Cicp(9, HLG)) == pytest.approx(hlg_to_nits(value / top), rel=2e-3)


def test_the_peak_is_that_of_the_brightest_channel() -> None:
    for channel in range(3):
        values = [10_000] * 3
        values[channel] = 50_000
        assert peak_of(samples(*values), Cicp(9, PQ)) == pytest.approx(pq_to_nits(50_000 / 65535))


def test_the_narrow_range_is_read_as_such() -> None:
    narrow = Cicp(9, PQ, 0, False)
    for part in (0.25, 0.5, 1):
        value = round(4096 + part * (60160 - 4096))
        assert peak_of(samples(value, value, value), narrow) == pytest.approx(pq_to_nits(part), rel=1e-3)
        assert peak_of(samples(value), narrow) == pytest.approx(pq_to_nits(part), rel=1e-3)
    assert peak_of(samples(65535), narrow) == pytest.approx(10_000)  # what is above white is white
    hlg = round(4096 + 0.75 * (60160 - 4096))
    assert peak_of(samples(hlg, hlg, hlg), Cicp(9, HLG, 0, False)) == pytest.approx(203, rel=5e-3)


@pytest.mark.parametrize(("count", "counts"), [(1, False), (2, True), (500, True)])
def test_one_in_ten_thousand_pixels_is_a_speck(count: int, counts: bool) -> None:
    values = np.full((100, 100), 20_000, np.uint16)
    values.flat[:count] = 60_000
    picture = pyvips.Image.new_from_memory(values.tobytes(), 100, 100, 1, "ushort")
    expected = 60_000 if counts else 20_000
    assert peak_of(picture, Cicp(9, PQ)) == pytest.approx(pq_to_nits(expected / 65535))


def test_sdr_has_no_peak() -> None:
    with pytest.raises(ValueError, match="HDR"):
        peak_of(samples(5), Cicp(9, 13))


@pytest.mark.parametrize("peak", [250, 400, 1000, 4000])
def test_the_shoulder_begins_at_its_knee_and_ends_at_white(peak: float) -> None:
    """BT.2390-12, 5.4.1, with the knee of libplacebo: KS = 2 maxLum - 1."""
    shoulder, top = Shoulder(peak), nits_to_pq(peak)
    white = nits_to_pq(203) / top
    knee = 2 * white - 1
    for part in (0, 0.3, 0.9, 0.999):
        light = pq_to_nits(knee * top * part)
        assert shoulder(light) == pytest.approx(light, rel=1e-9)
    for part in (0.1, 0.25, 0.5, 0.75, 1):  # the cubic through (knee, knee) with slope 1, and (1, white) with slope 0
        sample = knee + part * (1 - knee)
        t = part
        spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
        assert nits_to_pq(shoulder(pq_to_nits(sample * top))) == pytest.approx(spline * top, abs=1e-9)
    assert shoulder(peak) == pytest.approx(203) == shoulder(2 * peak)


def test_a_picture_without_highlights_is_not_changed() -> None:
    for light in (0, 10, 100, 202.9):
        assert Shoulder(203)(light) == light
    assert Shoulder(203)(5000) == 203


@pytest.mark.parametrize("space", [Cicp(9, PQ), Cicp(9, HLG)])
def test_without_a_peak_the_usual_one_is_taken(space: Cicp) -> None:
    picture = samples(40_000, 35_000, 30_000)
    usual = first(tone_mapped(picture, space))
    assert usual == first(tone_mapped(picture, space, USUAL_PEAK)) == first(tone_mapped(picture, space, 0))
    assert USUAL_PEAK == 1000 and usual != first(tone_mapped(picture, space, 300))


def test_nothing_of_hlg_is_brighter_than_its_screen() -> None:
    picture = samples(40_000, 40_000, 40_000)
    assert first(tone_mapped(picture, Cicp(9, HLG), 4000)) == first(tone_mapped(picture, Cicp(9, HLG), 1000))
    assert first(tone_mapped(picture, Cicp(9, PQ), 4000)) != first(tone_mapped(picture, Cicp(9, PQ), 1000))


@pytest.mark.parametrize("peak", [1, 100, 203])
def test_a_peak_below_paper_changes_nothing(peak: float) -> None:
    value = round(nits_to_pq(100) * 65535)
    light = 100 / 203
    srgb = round((1.055 * light ** (1 / 2.4) - 0.055) * 65535)
    for space in (Cicp(1, PQ), BT2020_PQ):
        assert first(tone_mapped(samples(value, value, value), space, peak)) == pytest.approx([srgb] * 3, abs=40)
    assert first(tone_mapped(samples(value), Cicp(1, PQ), peak)) == pytest.approx([srgb], abs=3)


@pytest.mark.parametrize("deep", [False, True])
def test_kinds_of_pixels_stay(deep: bool) -> None:
    for values in ((9,), (9, 8), (9, 8, 7), (9, 8, 7, 6)):
        picture = samples(*values, deep=deep)
        for transfer in (PQ, HLG):
            made = tone_mapped(picture, Cicp(9, transfer))
            assert (made.bands, made.format) == (len(values), picture.format)
            if len(values) % 2 == 0:
                assert first(made)[-1] == values[-1]
