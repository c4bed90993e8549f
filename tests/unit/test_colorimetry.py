"""Colours by code points, gamma and tone mapping, held against published values and against plain arithmetic."""

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st

from progimage.engine.colorimetry import (
    BT709,
    BT2020,
    Calibrated,
    Chromaticities,
    Cicp,
    Light,
    is_srgb,
    to_bt709,
    to_srgb,
)
from progimage.engine.frame import with_profile
from progimage.engine.matrix_profile import profile_of
from progimage.engine.tone_mapping import (
    REFERENCE_WHITE,
    Shoulder,
    hlg_to_nits,
    hlg_to_scene,
    nits_to_pq,
    peak_of,
    pq_to_nits,
    tone_mapped,
)

ADOBE = Calibrated(0.45455, Chromaticities((0.3127, 0.3290), (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)))
PQ = Cicp(9, 16)
HLG = Cicp(9, 18)
SPACES = [
    Cicp(12, 13), Cicp(9, 14), Cicp(11, 17), Cicp(1, 4), Cicp(9, 5), Cicp(10, 8), Cicp(1, 7), Cicp(12, 13, 0, False),
    ADOBE, Calibrated(1), Calibrated(0.625),
]  # fmt: skip


def image(values: np.ndarray) -> pyvips.Image:
    values = np.atleast_3d(values)
    deep = values.dtype == np.uint16
    kinds = ("grey16", "rgb16") if deep else ("b-w", "srgb")
    height, width, bands = values.shape
    made = pyvips.Image.new_from_memory(values.tobytes(), width, height, bands, "ushort" if deep else "uchar")
    return made.copy(interpretation=kinds[bands > 2])


def flat(*colour: int, deep: bool = False) -> pyvips.Image:
    return image(np.full((2, 2, len(colour)), colour, np.uint16 if deep else np.uint8))


def colours(dtype: type, count: int = 4000) -> np.ndarray:
    top = np.iinfo(dtype).max
    made = np.random.default_rng(1).integers(0, top + 1, (1, count, 3))
    made[0, : count // 4] //= 16  # dark ones
    made[0, count // 2 :: 5] = made[0, count // 2 :: 5, :1]  # greys
    return made.astype(dtype)


def ramp(bands: int) -> np.ndarray:
    return np.repeat(np.arange(65536, dtype=np.uint16)[None, :, None], bands, 2)


def first(pixels: pyvips.Image) -> list[int]:
    return [int(value) for value in pixels.getpoint(0, 0)]


def srgb(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


# Spaces of SDR.


@pytest.mark.parametrize(
    ("space", "colour", "wanted"),
    [
        (Cicp(12, 13), (255, 0, 0), (255, 0, 0)),
        (Cicp(12, 13), (200, 80, 60), (216, 69, 50)),  # as Chromium draws it
        (Cicp(9, 14), (200, 80, 60), (244, 37, 50)),
        (Cicp(11, 17), (200, 80, 60), (213, 50, 30)),
        (Cicp(4, 13), (200, 80, 60), (234, 72, 48)),
        (ADOBE, (200, 80, 60), (230, 79, 56)),
        (Calibrated(1), (100, 100, 100), (168, 168, 168)),
        (Calibrated(1), (100,), (168,)),
        (Calibrated(1), (100, 7), (168, 7)),
        (Cicp(12, 13), (200, 80, 60, 99), (216, 69, 50, 99)),
        (Cicp(1, 1), (200, 80, 60), (200, 80, 60)),
        (Cicp(1, 13, 0, False), (16, 126, 235), (0, 128, 255)),
    ],
)
def test_colours_are_converted_as_others_do(
    space: Cicp | Calibrated, colour: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    assert first(to_srgb(flat(*colour), space)) == pytest.approx(wanted, abs=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_conversion_is_exact(space: Cicp | Calibrated, dtype: type) -> None:
    values = colours(dtype)
    top = np.iinfo(dtype).max
    low, high = 0.0, float(top)
    if isinstance(space, Cicp) and not space.full_range:
        low, high = (16, 235) if top == 255 else (16 * 256, 235 * 256)
    samples = np.unique(values)
    light = dict(zip(samples, (space.curve((value - low) / (high - low)) for value in samples.tolist()), strict=True))
    linear = np.vectorize(light.__getitem__)(values)
    wanted = srgb(linear @ np.array(to_bt709(space.chromaticities)).T) * top
    made = to_srgb(image(values), space)
    assert made.interpretation == ("srgb" if top == 255 else "rgb16")
    assert np.abs(made.numpy() - wanted).max() < (0.51 if top == 255 else 1.5)


@pytest.mark.parametrize("space", [space for space in SPACES if getattr(space, "full_range", True)])
def test_a_profile_says_the_same(space: Cicp | Calibrated) -> None:
    pixels = image(colours(np.uint8))
    by_profile = with_profile(pixels, profile_of(space)).icc_transform("srgb", embedded=True, intent="relative")
    assert np.abs(by_profile.numpy().astype(int) - to_srgb(pixels, space).numpy()).max() <= 2
    grey = image(np.arange(256, dtype=np.uint8)[None])
    by_profile = with_profile(grey, profile_of(space, grey=True)).icc_transform("srgb", embedded=True)
    darkest = 8  # where LittleCMS is coarse, if greys are linear
    assert np.abs(by_profile.numpy()[..., 0].astype(int) - to_srgb(grey, space).numpy())[:, darkest:].max() <= 2


def test_matrices_are_the_published_ones() -> None:
    bt2020 = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]  # BT.2407-0
    assert np.allclose(to_bt709(BT2020), bt2020, atol=1e-4)
    assert np.allclose(BT709.to_xyz()[1], [0.2126, 0.7152, 0.0722], atol=1e-4)
    assert np.allclose(BT2020.to_xyz()[1], [0.2627, 0.6780, 0.0593], atol=1e-4)


@given(st.lists(st.integers(1, 1000), min_size=8, max_size=8))
def test_white_stays_white_whatever_the_primaries(numbers: list[int]) -> None:
    points = [(x / 1000, y / 1000) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
    try:
        matrix = to_bt709(Chromaticities(*points))
    except ValueError:
        return
    assert np.allclose(np.sum(matrix, axis=1), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (Cicp(12, 13), "Display P3"),
        (Cicp(1, 13), "sRGB"),
        (Cicp(9, 16), "BT.2020 PQ"),
        (Cicp(9, 18), "BT.2020 HLG"),
        (Cicp(9, 14), "BT.2020"),
        (Cicp(1, 1), "BT.709"),
        (Cicp(1, 4), "BT.709 gamma 2.2"),
        (Cicp(2, 16), "PQ"),
        (Cicp(2, 2), "unknown"),
        (ADOBE, "Adobe RGB"),
        (Calibrated(0.625), "gamma 1.6"),
        (Calibrated(1), "linear"),
        (Calibrated(0.45455, BT2020), "BT.2020, gamma 2.2"),
        (Calibrated(0.5, Chromaticities((0.3, 0.3), (0.7, 0.3), (0.2, 0.7), (0.1, 0.1))), "own primaries, gamma 2"),
    ],
)
def test_spaces_have_names(space: Cicp | Calibrated, name: str) -> None:
    assert space.name == name


def test_what_is_srgb_already() -> None:
    assert is_srgb(None) and is_srgb(Cicp(1, 13)) and is_srgb(Cicp(1, 1))
    others = (b"profile", Cicp(12, 13), PQ, Calibrated(0.45455), Cicp(1, 13, 0, False))
    assert not any(is_srgb(space) for space in others)
    pixels = flat(1, 2, 3)
    assert to_srgb(pixels, Cicp(1, 13)) is pixels
    assert Cicp(9, 16, 9, False).decoded() == Cicp(9, 16)
    assert Cicp(2, 13).known and not Cicp(12, 2).known and not Cicp(3, 13).known


def test_hdr_and_sdr_are_not_mixed_up() -> None:
    with pytest.raises(ValueError):
        to_srgb(flat(1, 2, 3), PQ)
    with pytest.raises(ValueError):
        profile_of(HLG)
    with pytest.raises(ValueError):
        tone_mapped(flat(1, 2, 3), Cicp(12, 13))


# HDR.


def test_transfer_functions_have_the_published_values() -> None:
    assert pq_to_nits(0.5) == pytest.approx(92.2457, abs=1e-3)
    assert pq_to_nits(1) == pytest.approx(10_000) and pq_to_nits(0) == 0
    assert nits_to_pq(203) == pytest.approx(0.5807, abs=1e-4)
    assert nits_to_pq(1000) == pytest.approx(0.7518, abs=1e-4)
    assert hlg_to_scene(0.5) == pytest.approx(1 / 12)
    assert hlg_to_scene(0.75) == pytest.approx(0.26496, abs=1e-5)
    assert hlg_to_scene(1) == pytest.approx(1, abs=1e-6)
    assert hlg_to_nits(0.75) == pytest.approx(REFERENCE_WHITE, abs=0.2)  # BT.2408


def test_the_shoulder_is_that_of_bt_2390() -> None:
    shoulder = Shoulder(1000)
    knee = pq_to_nits((2 * nits_to_pq(203) / nits_to_pq(1000) - 1) * nits_to_pq(1000))
    assert shoulder(knee * 0.99) == knee * 0.99 and shoulder(knee * 1.01) < knee * 1.01
    assert shoulder(1000) == pytest.approx(203) == shoulder(5000)
    assert nits_to_pq(shoulder(203)) == pytest.approx(0.7155 * 0.7518, abs=1e-4)  # by hand: T = 1/2
    assert Shoulder(203)(150) == 150 and Shoulder(203)(900) == 203


@given(st.floats(203, 10_000), st.floats(0, 10_000), st.floats(0, 10_000))
def test_brighter_stays_brighter(peak: float, one: float, other: float) -> None:
    shoulder = Shoulder(peak)
    darker, brighter = sorted((one, other))
    assert shoulder(darker) <= shoulder(brighter) * (1 + 1e-9) <= 203 * (1 + 2e-9)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("space", [PQ, HLG, Cicp(12, 16), Cicp(9, 16, 0, False)], ids=lambda space: space.name)
@pytest.mark.parametrize("peak", [203, 700, 4000])
def test_greys_stay_grey_and_in_order(space: Cicp, bands: int, peak: float) -> None:
    made = np.atleast_3d(tone_mapped(image(ramp(bands)), space, peak).numpy()).astype(int)[0]
    assert np.ptp(made, axis=1).max() <= 1
    assert np.diff(made, axis=0).min() >= (0 if bands == 1 else -3)  # of 65535
    assert made[0].max() == 0 and made[-1].min() >= 65000


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("space", "sample"), [(PQ, 0.5807), (HLG, 0.75)])
def test_paper_is_white_where_nothing_is_brighter(space: Cicp, sample: float, deep: bool) -> None:
    top = 65535 if deep else 255
    for colour in ([round(sample * top)] * 3, [round(sample * top)], [round(sample * top)] * 3 + [77]):
        paper = flat(*colour, deep=deep)
        peak = peak_of(paper, space)
        assert peak == pytest.approx(203, rel=0.03)
        made = tone_mapped(paper, space, peak)
        assert made.bands == len(colour) and made.format == paper.format
        assert min(first(made)[:3:2]) >= top * 252 / 255
        if len(colour) == 4:
            assert first(made)[3] == 77


def test_what_is_below_the_knee_is_as_in_sdr() -> None:
    light = np.array([[[0.02, 0.1, 0.05], [0.15, 0.15, 0.15], [0.15, 0.02, 0.1]]])  # linear BT.2020, 1 is paper
    samples = np.vectorize(lambda value: nits_to_pq(value * 203))(light)
    made = tone_mapped(image(np.round(samples * 65535).astype(np.uint16)), PQ, 1000).numpy()
    assert np.abs(made - srgb(light @ np.array(to_bt709(BT2020)).T) * 65535).max() < 20


def test_hue_is_kept_in_highlights() -> None:
    light = np.array([2.0, 1.5, 1.0])  # of paper, in BT.709's primaries
    samples = [round(nits_to_pq(value * 203) * 65535) for value in light]
    made = np.array(first(tone_mapped(flat(*samples, deep=True), Cicp(1, 16), 1000))) / 65535
    linear = ((made + 0.055) / 1.055) ** 2.4
    assert np.allclose(linear / linear[0], light / light[0], atol=0.002)


def test_hlg_follows_bt_2100() -> None:
    def shown_of(samples: np.ndarray) -> np.ndarray:
        scene = np.array([hlg_to_scene(sample) for sample in samples])
        return 1000 * (scene @ BT2020.to_xyz()[1]) ** 0.2 * scene

    by_colour_science = [417.312, 38.252, 9.563]  # colour-science 0.4.7, eotf_BT2100_HLG
    assert np.allclose(shown_of(np.array([0.9, 0.4, 0.2])), by_colour_science, rtol=1e-3)
    samples = np.array([0.4, 0.3, 0.1])
    shown = shown_of(samples)
    made = tone_mapped(flat(*(round(sample * 65535) for sample in samples), deep=True), HLG, 203)
    wanted = srgb(to_bt709(BT2020) @ shown / 203) * 65535
    assert np.abs(np.array(first(made)) - wanted).max() < 30


@pytest.mark.parametrize("space", [PQ, HLG])
def test_specks_are_not_the_peak(space: Cicp) -> None:
    values = np.full((200, 200, 3), 0.6 * 65535, np.uint16)
    values[7, 7] = 60000
    plain = peak_of(image(values[10:]), space)
    assert peak_of(image(values), space) == pytest.approx(plain, rel=0.01)
    values[:50] = 45000
    assert peak_of(image(values), space) > plain * 1.5


def test_the_peak_that_metadata_tell() -> None:
    assert Light(700, 1000).peak == 700
    assert Light(None, 1000).peak == 1000
    assert Light(0, None).peak is None and Light().peak is None
