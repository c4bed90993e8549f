"""Looking for a quality: the lowest that looks the same, and the highest that fits."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pyvips

from progimage.engine import InvalidParameter
from progimage.engine.files import OutputFile
from progimage.engine.frame import Frame
from progimage.engine.quality import automatic_quality, highest_quality, similarity

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # Wang et al., 2004


def picture(values: np.ndarray) -> pyvips.Image:
    values = np.ascontiguousarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
    height, width = values.shape[:2]
    bands = 1 if values.ndim == 2 else values.shape[2]
    made = pyvips.Image.new_from_memory(values.tobytes(), width, height, bands, "uchar")
    return made.copy(interpretation="b-w" if bands == 1 else "srgb")


def flat(value: float) -> pyvips.Image:
    return picture(np.full((40, 40), value))


def checkered(mean: float, difference: float) -> pyvips.Image:
    signs = np.indices((64, 64)).sum(axis=0) % 2 * 2 - 1
    return picture(mean + difference * signs)


@pytest.mark.parametrize(("one", "other"), [(100, 100), (100, 200), (0, 5), (0, 255), (7, 3)])
def test_even_pictures_are_as_similar_as_their_light(one: float, other: float) -> None:
    expected = (2 * one * other + C1) / (one**2 + other**2 + C1)
    assert similarity(flat(one), flat(other)) == pytest.approx(expected, abs=1e-4)
    assert similarity(flat(other), flat(one)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("one", "other"), [(5, 5), (5, -5), (20, 10), (3, 30)])
def test_patterns_are_as_similar_as_they_go_together(one: float, other: float) -> None:
    expected = (2 * one * other + C2) / (one**2 + other**2 + C2)
    found = similarity(checkered(100, one), checkered(100, other))
    assert found == pytest.approx(expected, abs=3e-4)


def test_light_and_pattern_count_both() -> None:
    expected = (2 * 60 * 120 + C1) / (60**2 + 120**2 + C1) * (2 * 10 * 20 + C2) / (10**2 + 20**2 + C2)
    assert similarity(checkered(60, 10), checkered(120, 20)) == pytest.approx(expected, abs=0.01)


class Encoder:
    """Pretends to write files whose size grows with the quality."""

    def __init__(self, sizes: Any) -> None:
        self.sizes = sizes
        self.tried: list[int] = []
        self.target: Any = SimpleNamespace(size=0)

    def __call__(self, quality: int) -> None:
        self.tried.append(quality)
        self.target.size = self.sizes(quality)


@pytest.mark.parametrize("maximum", [1, 2, 50, 100])
@pytest.mark.parametrize("max_bytes", [100, 101, 199, 200, 4999, 5000, 9999, 10_000])
def test_the_highest_quality_that_fits(maximum: int, max_bytes: int) -> None:
    encoder = Encoder(lambda quality: quality * 100)
    found = highest_quality(encoder, maximum, max_bytes, encoder.target)
    assert found == min(maximum, max_bytes // 100)
    assert len(encoder.tried) <= 9 and set(encoder.tried) <= set(range(1, maximum + 1))


def test_a_file_that_fits_at_once_is_written_once() -> None:
    encoder = Encoder(lambda quality: 100)
    assert highest_quality(encoder, 80, 100, encoder.target) == 80 and encoder.tried == [80]


def test_what_does_not_fit_at_the_lowest_quality_is_refused_with_what_would() -> None:
    encoder = Encoder(lambda quality: quality + 500)
    with pytest.raises(InvalidParameter) as refusal:
        highest_quality(encoder, 90, 500, encoder.target)
    assert (refusal.value.parameter, refusal.value.given) == ("max_bytes", "500")
    assert refusal.value.allowed.startswith("at least 501 ")
    assert highest_quality(encoder, 90, 501, encoder.target) == 1


class Blurrer:
    """Writes pictures with noise: the less the higher the quality."""

    def __init__(self, path: Path, least_noise: float = 0) -> None:
        self.target, self.least_noise = OutputFile(path), least_noise
        self.samples: list[pyvips.Image] = []
        self.tried: list[int] = []

    def __call__(self, frame: Frame, quality: int) -> None:
        self.samples.append(frame.pixels)
        self.tried.append(quality)
        self.noisy(frame.pixels, quality).pngsave_target(self.target.target(), compression=0)

    def noisy(self, pixels: pyvips.Image, quality: int) -> pyvips.Image:
        values = pixels.numpy().astype(float)
        noise = np.random.default_rng(1).normal(0, 1, values.shape[:2])
        amount = max(self.least_noise, (100 - quality) / 2)
        return picture(values + amount * (noise if values.ndim == 2 else noise[..., None]))


def photograph(width: int = 90, height: int = 70) -> Frame:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    grey = 128 + 60 * np.sin(x / 7) + 40 * np.sin(y / 5)
    return Frame(picture(np.repeat(grey[..., None], 3, axis=2)), "RGB")


def test_the_lowest_quality_that_looks_the_same(tmp_path: Path) -> None:
    frame, encoder = photograph(), Blurrer(tmp_path / "target")
    grey = frame.pixels.colourspace("b-w")
    reached = {
        quality: similarity(grey, encoder.noisy(frame.pixels, quality).colourspace("b-w")) for quality in range(30, 96)
    }
    found = automatic_quality(frame, encoder, encoder.target)
    assert found == min(quality for quality, similar in reached.items() if similar >= 0.95)
    assert 30 < found < 95 and len(encoder.tried) <= 9 and set(encoder.tried) <= set(range(30, 96))


@pytest.mark.parametrize(("quality_of", "found"), [(lambda quality: 100, 30), (lambda quality: quality, 95)])
def test_it_is_looked_for_between_thirty_and_ninety_five(tmp_path: Path, quality_of: Any, found: int) -> None:
    """As docs/transformations.md says of `quality=auto`."""
    encoder = Blurrer(tmp_path / "target")
    noisy = encoder.noisy
    encoder.noisy = lambda pixels, quality: noisy(pixels, 100 if found == 30 else min(100, quality // 95 * 100))
    assert automatic_quality(photograph(), encoder, encoder.target) == found


def test_where_nothing_looks_the_same_nearly_the_best_is_taken(tmp_path: Path) -> None:
    frame, encoder = photograph(), Blurrer(tmp_path / "target", least_noise=20)
    grey = frame.pixels.colourspace("b-w")
    reached = {
        quality: similarity(grey, encoder.noisy(frame.pixels, quality).colourspace("b-w")) for quality in range(30, 96)
    }
    assert reached[95] < 0.9
    found = automatic_quality(frame, encoder, encoder.target)
    assert found == min(quality for quality, similar in reached.items() if similar >= reached[95] - 0.005)
    assert found <= 60  # from there on, there is as little noise


@pytest.mark.parametrize(
    ("size", "sample"),
    [((90, 70), (90, 70)), ((1100, 30), (1024, 30)), ((30, 1101), (30, 1024)), ((1024, 1024), (1024, 1024))],
)
def test_a_large_picture_is_judged_by_its_middle(
    tmp_path: Path, size: tuple[int, int], sample: tuple[int, int]
) -> None:
    frame, encoder = photograph(*size), Blurrer(tmp_path / "target")
    automatic_quality(frame, encoder, encoder.target)
    judged = encoder.samples[0]
    assert (judged.width, judged.height) == sample
    left, top = (round((whole - part) / 2) for whole, part in zip(size, sample, strict=True))
    assert (judged.numpy() == frame.pixels.crop(left, top, *sample).numpy()).all()
