"""Colour spaces by themselves: published luminances and curves, names, and the arithmetic of matrices."""

import itertools

import numpy as np
import pytest
import pyvips

from progimage.engine.colorimetry import (
    BT709,
    BT2020,
    IDENTITY,
    LINEAR,
    SRGB,
    Calibrated,
    Chromaticities,
    Cicp,
    Curve,
    adaptation,
    curve_at,
    encoded,
    full,
    inverse,
    is_linear,
    is_srgb,
    join_alpha,
    linear,
    multiplied,
    narrow_range,
    primaries_near,
    split_alpha,
    srgb_of,
    srgb_table,
    times,
    to_bt709,
    xyz_of,
)

D65 = (0.3127, 0.3290)
ADOBE = Chromaticities(D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PROPHOTO = Chromaticities((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))


# How bright each primary is, as it is published with the space. All of its chromaticities go into that.
@pytest.mark.parametrize(
    ("space", "luminance"),
    [
        (Cicp(1, 1).chromaticities, (0.2126, 0.7152, 0.0722)),  # BT.709
        (Cicp(4, 1).chromaticities, (0.299, 0.587, 0.114)),  # NTSC of 1953
        (Cicp(5, 1).chromaticities, (0.222, 0.7067, 0.0713)),  # EBU 3213-E of PAL
        (Cicp(6, 1).chromaticities, (0.2124, 0.7011, 0.0866)),  # SMPTE 170M
        (Cicp(7, 1).chromaticities, (0.2124, 0.7011, 0.0866)),  # SMPTE 240M
        (Cicp(9, 1).chromaticities, (0.2627, 0.678, 0.0593)),  # BT.2020
        (Cicp(10, 1).chromaticities, (0, 1, 0)),  # XYZ itself
        (Cicp(11, 1).chromaticities, (0.2095, 0.7216, 0.0689)),  # DCI-P3
        (Cicp(12, 1).chromaticities, (0.229, 0.6917, 0.0793)),  # Display P3
        (ADOBE, (0.2974, 0.6273, 0.0753)),
        (PROPHOTO, (0.288, 0.7119, 0.0001)),
    ],
)  # fmt: skip
def test_primaries_are_as_bright_as_is_published(space: Chromaticities, luminance: tuple[float, float, float]) -> None:
    matrix = space.to_xyz()
    assert matrix[1] == pytest.approx(luminance, abs=7e-4)
    white = xyz_of(space.white)
    assert times(matrix, (1, 1, 1)) == pytest.approx(white) and white[1] == 1
    for primary, point in zip(zip(*matrix, strict=True), (space.red, space.green, space.blue), strict=True):
        assert (primary[0] / sum(primary), primary[1] / sum(primary)) == pytest.approx(point, abs=1e-9)


@pytest.mark.parametrize(
    ("code", "white"), [(8, (0.310, 0.316)), (4, (0.310, 0.316)), (11, (0.314, 0.351)), (10, (1 / 3, 1 / 3)), (22, D65)]
)
def test_whites(code: int, white: tuple[float, float]) -> None:
    """C, that of cinemas, equal energy, and D65: table 2 of ITU-T H.273."""
    assert Cicp(code, 1).chromaticities.white == white


@pytest.mark.parametrize(
    ("code", "primaries"),
    [
        # Table 2 of ITU-T H.273: generic film (Illuminant C), and EBU Tech 3213-E.
        (8, [(0.681, 0.319), (0.243, 0.692), (0.145, 0.049)]),
        (22, [(0.630, 0.340), (0.295, 0.605), (0.155, 0.077)]),
    ],
)
def test_the_rarer_primaries(code: int, primaries: list[tuple[float, float]]) -> None:
    space = Cicp(code, 1).chromaticities
    assert [space.red, space.green, space.blue] == primaries


@pytest.mark.parametrize(
    ("transfer", "points"),
    [
        (4, {0.5: 0.5**2.2, 1: 1}),
        (5, {0.5: 0.5**2.8, 1: 1}),
        (7, {0.04: 0.01, 0.5: ((0.5 + 0.1115) / 1.1115) ** (1 / 0.45), 1: 1}),  # V = 1.1115 L^0.45 - 0.1115, and 4 L
        (8, {0.25: 0.25, 1: 1}),
        (13, {0.04: 0.04 / 12.92, 0.5: 0.214041, 1: 1}),
        (17, {0.5: 52.37 / 48 * 0.5**2.6, 0.1: 52.37 / 48 * 0.1**2.6}),
    ],
)
def test_curves_have_the_published_values(transfer: int, points: dict[float, float]) -> None:
    curve = Cicp(1, transfer).curve
    for sample, light in points.items():
        assert curve(sample) == pytest.approx(light, rel=1e-5)
    assert curve(0) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("transfer", [1, 6, 11, 12, 13, 14, 15])
def test_what_was_made_for_screens_is_shown_as_on_screens(transfer: int) -> None:
    assert Cicp(1, transfer).curve == SRGB


@pytest.mark.parametrize("transfer", [4, 5, 7, 8, 13, 17])
def test_curves_rise_without_a_jump(transfer: int) -> None:
    curve = Cicp(1, transfer).curve
    values = [curve(number / 1000) for number in range(1001)]
    steps = [after - before for before, after in itertools.pairwise(values)]
    assert min(steps) >= 0 and max(steps) < 0.004 * max(1, values[-1])
    if curve.d:  # both parts meet
        assert curve(curve.d - 1e-9) == pytest.approx(curve(curve.d), rel=2e-3)


def test_no_light_is_less_than_none() -> None:
    assert Curve(2, 1, -0.5)(0.2) == 0 and Curve(1, 1, 0, 1, 0.5, 0, -1)(0.2) == 0 and Curve(1, e=-0.5)(0.2) == 0
    assert Curve(1, 1, 0, 2, 0.5, 0.25, 0.125)(0.25) == 0.625 and Curve(1, 1, 0, 2, 0.5, 0.25, 0.125)(0.5) == 0.75


def test_a_narrow_range_begins_and_ends_within() -> None:
    for curve in (SRGB, LINEAR, Cicp(1, 7).curve):
        narrow = curve.of_range(16 / 255, 235 / 255)
        for sample in (0, 0.01, 0.05, 0.3, 1):
            assert narrow(16 / 255 + sample * 219 / 255) == pytest.approx(curve(sample), abs=1e-6)
        assert narrow(0) == pytest.approx(0, abs=1e-9)


def test_the_narrow_range_is_that_of_h_273() -> None:
    eight, sixteen = (pyvips.Image.black(1, 1).cast(kind) for kind in ("uchar", "ushort"))
    assert narrow_range(eight) == (16 / 255, 235 / 255)
    assert narrow_range(sixteen) == (4096 / 65535, 60160 / 65535)  # 16 and 235, eight bits further up
    assert curve_at(Cicp(1, 13), eight) == SRGB and curve_at(Calibrated(0.5), eight) == Curve(2)
    assert curve_at(Cicp(1, 13, 0, False), eight)(16 / 255) == 0
    assert full(Cicp(1, 13)) and full(Calibrated(0.5)) and not full(Cicp(1, 13, 0, False))


@pytest.mark.parametrize(
    ("light", "sample"), [(0, 0), (1, 1), (0.214041, 0.5), (0.0031308, 0.04045), (0.001, 0.01292), (-1, 0), (2, 1)]
)
def test_light_becomes_srgb(light: float, sample: float) -> None:
    assert srgb_of(light) == pytest.approx(sample, abs=1e-5)


def test_curves_and_srgb_undo_each_other() -> None:
    for sample in range(0, 256, 5):
        assert srgb_of(SRGB(sample / 255)) == pytest.approx(sample / 255, abs=1e-5)


@pytest.mark.parametrize(
    ("space", "known"),
    [
        (Cicp(1, 1), True),
        (Cicp(2, 13), True),
        (Cicp(9, 16), True),
        (Cicp(9, 18), True),
        (Cicp(2, 16), True),
        (Cicp(3, 13), False),
        (Cicp(1, 2), False),
        (Cicp(1, 3), False),
        (Cicp(13, 16), False),
        (Cicp(22, 17), True),
        (Cicp(23, 17), False),
        (Cicp(2, 2), False),
    ],
)
def test_which_code_points_can_be_converted(space: Cicp, known: bool) -> None:
    assert space.known is known


def test_what_is_left_open_is_that_of_srgb() -> None:
    assert Cicp(2, 13).chromaticities == BT709 and Cicp(99, 13).chromaticities == BT709 and Cicp(1, 2).curve == SRGB
    assert Calibrated(1 / 2.2).chromaticities == BT709


def test_only_pq_and_hlg_are_hdr() -> None:
    assert [transfer for transfer in range(30) if Cicp(9, transfer).hdr] == [16, 18]


def test_names() -> None:
    assert (
        Cicp(4, 4).name == "BT.470 M gamma 2.2" and Cicp(11, 17).name == "DCI-P3" and Cicp(12, 13).name == "Display P3"
    )
    assert Cicp(6, 6).name == "BT.601" and Cicp(7, 7).name == "SMPTE 240M" and Cicp(9, 15).name == "BT.2020"
    assert Cicp(2, 8).name == "linear" and Cicp(22, 2).name == "EBU 3213" and Cicp(2, 2).name == "unknown"
    assert (Cicp(8, 16).primaries_name, Cicp(8, 16).transfer_name) == ("film", "PQ")
    assert Cicp(2, 2).primaries_name is None is Cicp(2, 2).transfer_name
    assert Calibrated(1 / 2.2, ADOBE).name == "Adobe RGB" and Calibrated(1 / 1.8, ADOBE).name == "Adobe RGB, gamma 1.8"
    assert (
        Calibrated(1 / 1.8, PROPHOTO).name == "ProPhoto RGB, gamma 1.8"
        and Calibrated(1, BT2020).name == "BT.2020, linear"
    )
    assert Calibrated(0.5, Cicp(12, 1).chromaticities).name == "P3, gamma 2"
    assert Calibrated(0.9985).transfer_name == "gamma 1" and Calibrated(0.9995).transfer_name == "linear"


def test_primaries_that_are_nearly_those_are_those() -> None:
    for code in (1, 4, 5, 6, 8, 9, 10, 11, 12, 22):
        space = Cicp(code, 1).chromaticities
        near = Chromaticities(*((x + 0.0029, y - 0.0029) for x, y in (space.white, space.red, space.green, space.blue)))
        far = Chromaticities(space.white, space.red, space.green, (space.blue[0], space.blue[1] + 0.0031))
        assert primaries_near(space) == code == primaries_near(near) and primaries_near(far) != code
    assert primaries_near(PROPHOTO) is None


def test_what_is_srgb_or_linear() -> None:
    assert is_srgb(None) and is_srgb(Cicp(1, 13)) and is_srgb(Cicp(2, 2))
    assert not is_srgb(Cicp(1, 8)) and not is_srgb(Cicp(9, 13)) and not is_srgb(b"profile") and not is_srgb(Cicp(1, 16))
    assert not is_srgb(Cicp(1, 13, 0, False)) and not is_srgb(Calibrated(1))
    assert is_linear(Cicp(9, 8)) and is_linear(Calibrated(1)) and is_linear(Calibrated(1, BT2020))
    assert not any(map(is_linear, (None, b"profile", Cicp(1, 13), Cicp(1, 16), Calibrated(0.5))))


@pytest.mark.parametrize(
    "matrix", [((1, 2, 3), (0, 1, 4), (5, 6, 0)), ((2, 0, 0), (0, 4, 0), (0, 0, 8)), ((0, 1, 0), (0, 0, 1), (1, 0, 0))]
)
def test_matrices_are_multiplied_and_inverted(matrix: tuple[tuple[float, float, float], ...]) -> None:
    other = ((1.5, -2, 0.5), (3, 1, -1), (0.25, 0, 2))
    assert np.allclose(inverse(matrix), np.linalg.inv(matrix))  # type: ignore[arg-type]
    assert np.allclose(multiplied(matrix, other), np.array(matrix) @ other)  # type: ignore[arg-type]
    assert np.allclose(times(matrix, (1, 2, 3)), np.array(matrix) @ (1, 2, 3))  # type: ignore[arg-type]


def test_what_spans_no_space_is_refused() -> None:
    with pytest.raises(ValueError):
        inverse(((1, 2, 3), (2, 4, 6), (0, 0, 1)))
    with pytest.raises(ValueError):
        Chromaticities(D65, (0.3, 0.3), (0.4, 0.4), (0.5, 0.5)).to_xyz()
    with pytest.raises(ValueError):
        Chromaticities((0.9, 0.05), (0.64, 0.33), (0.3, 0.6), (0.15, 0.06)).to_xyz()
    for y in (0, -0.1):
        with pytest.raises(ValueError):
            xyz_of((0.3, y))
    with pytest.raises(ValueError):
        adaptation((-1, 1, 1), xyz_of(D65))
    with pytest.raises(ValueError):
        adaptation((0, 0, 0), xyz_of(D65))
    assert inverse(((1e-2, 0, 0), (0, 1e-2, 0), (0, 0, 1e-4)))[2][2] == pytest.approx(1e4)


def test_xyz_of_a_white() -> None:
    assert xyz_of((1 / 3, 1 / 3)) == pytest.approx((1, 1, 1))
    assert xyz_of(D65) == pytest.approx((0.95046, 1, 1.08906), abs=1e-5)  # IEC 61966-2-1
    assert xyz_of((0.34567, 0.3585)) == pytest.approx((0.9642, 1, 0.8251), abs=2e-4)  # D50 of ICC


def test_the_eye_adapts_as_bradford_says() -> None:
    d50 = (0.9642, 1.0, 0.8249)
    published = [[1.0479, 0.0229, -0.0502], [0.0296, 0.9904, -0.0171], [-0.0092, 0.0151, 0.7517]]  # ICC.1:2022, E
    assert np.allclose(adaptation((0.9505, 1, 1.0891), d50), published, atol=2e-4)
    assert np.allclose(adaptation(d50, d50), np.eye(3))


def test_srgb_needs_no_matrix() -> None:
    assert to_bt709(BT709) is IDENTITY and np.allclose(IDENTITY, np.eye(3))


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_alpha_is_left_alone(bands: int, deep: bool) -> None:
    pixels = pyvips.Image.black(2, 2, bands=bands).linear(1, list(range(10, 10 + bands)))
    pixels = pixels.cast("ushort" if deep else "uchar")
    colour, alpha = split_alpha(pixels)
    assert colour.bands == (1 if bands < 3 else 3) and (alpha is None) is (bands % 2 == 1)
    joined = join_alpha(colour, alpha, pixels)
    assert joined.getpoint(0, 0) == pixels.getpoint(0, 0) and joined.format == pixels.format
    assert joined.interpretation == {1: ("b-w", "grey16"), 3: ("srgb", "rgb16")}[colour.bands][deep]


@pytest.mark.parametrize(("kind", "top"), [("uchar", 255), ("ushort", 65535)])
def test_tables_go_from_black_to_white(kind: str, top: int) -> None:
    samples = pyvips.Image.new_from_memory(
        np.array([0, top // 2, top], np.uint8 if top == 255 else np.uint16).tobytes(), 3, 1, 1, kind
    )
    light = linear(samples, SRGB)
    assert [light.getpoint(x, 0)[0] for x in range(3)] == pytest.approx([0, SRGB((top // 2) / top), 1], abs=1e-6)
    table = srgb_table(LINEAR, samples)
    assert (table.width, table.format) == (top + 1, kind)
    assert [table.getpoint(x, 0)[0] for x in (0, top // 2, top)] == [0, round(srgb_of((top // 2) / top) * top), top]


def test_light_is_rounded_to_the_nearest_sample() -> None:
    three = pyvips.Image.black(1, 1, bands=3).cast("float")
    for kind, top in (("uchar", 255), ("ushort", 65535)):
        like = pyvips.Image.black(1, 1).cast(kind)
        for sample in (0, 1, top // 3, top - 1, top):
            found = encoded(three + SRGB(sample / top), like).getpoint(0, 0)
            assert found == pytest.approx([sample] * 3, abs=0 if top == 255 else 2), (kind, sample)
        assert (
            encoded(three + 9, like).getpoint(0, 0) == [top] * 3 and encoded(three - 9, like).getpoint(0, 0) == [0] * 3
        )
