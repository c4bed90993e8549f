"""What requests are reckoned to cost: in the order of what they take, and never far below it."""

import statistics
import time
from pathlib import Path

import pytest
import pyvips

from progimage.engine import (
    FORMATS,
    EngineError,
    Facts,
    InvalidParameter,
    Limits,
    RenditionSpec,
    TooCostly,
    inspect_upload,
    render,
)
from progimage.engine.analysis import placeholder
from progimage.engine.cost import Units, _weights, costliest, priced, rendition_cost, rendition_units
from tests import pictures
from tests.costs import OPERATIONS, Sample, at_random, facts_of, files, ways_of_writing

PHOTO = Facts("JPEG", 4000, 3000)
MARK = "7d0a2c1e-4b7f-4f0e-9a53-1c6b8e2d5f90"
ATTACK = (
    "JPEG?ops=width:10|width:9000;height:9000;fit:fill;enlarge:true;blur:20|sharpen:10|blur:250|hue:9|rotate:45;"
    "width:6000;height:6000"
)


def cost(query: str, facts: Facts = PHOTO, format: str = "JPEG") -> float:
    return rendition_cost(facts, RenditionSpec.from_canonical(f"{format}?{query}" if query else format))


def test_what_is_more_work_costs_more() -> None:
    for less, more in (
        ("width=300", "width=3000"),
        ("width=300", "width=300&blur=50"),
        ("width=300&blur=5", "width=300&blur=200"),
        ("ops=width:300|rotate:10", "ops=width:300|rotate:10|blur:20"),
        ("ops=width:300|blur:20", "ops=width:10|width:3000;enlarge:true|blur:20|width:300"),
        ("quality=80", "quality=auto"),
        ("width=3000", "width=3000&max_bytes=1000000"),
    ):
        assert cost(less) < cost(more), (less, more)
    assert cost("effort=1", format="AVIF") < cost("effort=9", format="AVIF")
    assert cost("width=100", Facts("GIF", 300, 200), "GIF") < cost(
        "width=100", Facts("GIF", 300, 200, frames=50), "GIF"
    )
    moving = Facts("WEBP", 1000, 1000, frames=400)
    assert cost("page=1", moving) < cost("page=20", moving) / 5 < cost("page=400", moving) / 50
    smaller_copy = Facts("JPEG", 4000, 3000, copy=(1024, 768))
    assert cost("width=300", smaller_copy) < cost("width=300")
    spec = RenditionSpec("JPEG", width=300, watermark=MARK)
    small, large = ({MARK: Facts("PNG", side, side)} for side in (30, 3000))
    assert rendition_cost(PHOTO, spec) < rendition_cost(PHOTO, spec, small) < rendition_cost(PHOTO, spec, large)


def test_a_mark_costs_what_its_size_does(tmp_path: Path) -> None:
    files = {"photo": pictures.colour((1500, 1000)), "mark": pictures.colour((40, 40))}
    for name, picture in files.items():
        (tmp_path / name).write_bytes(pictures.saved(picture, "PNG"))
    spec = RenditionSpec("JPEG", watermark=MARK, watermark_scale=6)  # 81 megapixels, of which 1.5 are seen
    photo, mark = (facts_of(tmp_path / name) for name in files)
    reckoned = rendition_cost(photo, spec, {MARK: mark})
    started = time.process_time()
    render(tmp_path / "photo", spec, tmp_path / "target", Limits(), {MARK: tmp_path / "mark"})
    assert time.process_time() - started < max(0.5, 3 * reckoned)
    with pytest.raises(TooCostly):
        render(tmp_path / "photo", spec, tmp_path / "target", Limits(cost=0.3), {MARK: tmp_path / "mark"})


def test_a_pipeline_that_hides_its_work_is_reckoned_at_what_it_takes() -> None:
    spec = RenditionSpec.from_canonical(ATTACK)
    assert rendition_cost(Facts("JPEG", 800, 600), spec) > 10
    assert costliest(Facts("JPEG", 800, 600), spec)[0] in (2, 3, 4)


def test_what_costs_far_too_much_is_refused_by_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(pictures.saved(pictures.colour((80, 60)), "JPEG"))
    limits = Limits(most_cost=2)
    with pytest.raises(InvalidParameter) as refusal:
        render(source, RenditionSpec.from_canonical(ATTACK), tmp_path / "target", limits)
    assert refusal.value.parameter.startswith("ops ") and "2 seconds of CPU time" in refusal.value.allowed
    render(source, RenditionSpec("JPEG", width=30), tmp_path / "target", limits)


def test_what_is_not_light_says_so(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(pictures.saved(pictures.colour((800, 600)), "JPEG"))
    light = Limits(cost=0.3)
    for query in ("blur=250&width=3000&enlarge=true", "rotate=15&blur=100"):
        with pytest.raises(TooCostly) as refusal:
            render(source, RenditionSpec.from_canonical(f"PNG?{query}"), tmp_path / "target", light)
        assert refusal.value.cost > 0.3 and not refusal.value.drawing
    render(source, RenditionSpec("JPEG", width=300), tmp_path / "target", light)
    assert inspect_upload(source, light, {}).info.width == 800


def test_a_drawing_is_never_light(tmp_path: Path) -> None:
    source = tmp_path / "drawing"
    source.write_bytes(pictures.SVG)
    light = Limits(cost=0.3)
    for work in (
        lambda: inspect_upload(source, light, {}),
        lambda: placeholder(source, light),
        lambda: render(source, RenditionSpec("PNG"), tmp_path / "target", light),
    ):
        with pytest.raises(TooCostly) as refusal:
            work()
        assert refusal.value.drawing
    picture = tmp_path / "picture"
    picture.write_bytes(pictures.BY_MODE["RGB"]())
    with pytest.raises(TooCostly):
        marked = RenditionSpec("PNG", watermark=MARK)
        render(picture, marked, tmp_path / "target", light, {MARK: source})


def test_every_kind_of_work_has_a_weight() -> None:
    modes = ("1", "L", "LA", "RGB", "RGBA", "L16", "LA16", "RGB16", "RGBA16", "F", "CMYK")
    kinds = [Facts("PNG", 800, 600, mode) for mode in modes] + [Facts("GIF", 300, 200, "RGB", frames=8)]
    read = [Facts(format.name, 800, 600) for format in FORMATS.values() if format.can_read]
    changes = [f"{query}{more}" for query in OPERATIONS for more in ("", "&width=900", "&extend=9")]
    queries = [f"PNG?{query}" for query in changes if query.count("extend") < 2]
    queries += [f"{format}?{query}" for format, query in ways_of_writing()]
    needed = {name for facts in read for name in rendition_units(facts, RenditionSpec("PNG", width=100))}
    for query in queries:
        spec = RenditionSpec.from_canonical(query)
        needed |= {name for facts in kinds for name in rendition_units(facts, spec)}
    refused = {name for name in needed if name.startswith("write AVIF lossless") and name.endswith(" moving")}
    assert needed - refused - {"read PNM"} <= set(_weights()), needed - set(_weights())
    assert priced(Units(dict.fromkeys(needed, 1.0))) > 0


def _ranks(values: list[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    for rank, index in enumerate(order):
        ranks[index] = rank
    return ranks


@pytest.mark.alone
@pytest.mark.parametrize("query", ["sharpen=2", "sharpen=10", "width=100&normalize=true"])
def test_what_an_operation_takes_beside_its_megapixels_is_reckoned(query: str, tmp_path: Path) -> None:
    picture = pictures.detailed(800, 600)
    alpha = pyvips.Image.gaussnoise(800, 600, mean=200, sigma=20).cast("uchar")
    kind = picture.bandjoin(alpha) if "sharpen" in query else picture[1]
    source, target = tmp_path / "source.png", tmp_path / "target"
    kind.pngsave(str(source), compression=1)
    usual, asked = (
        Sample(source, facts_of(source), RenditionSpec.from_canonical(f"PPM?{text}"))
        for text in ("blur=3&brightness=1.2", query)
    )
    speed = usual.seconds(target, 5) / rendition_cost(usual.facts, usual.spec)
    assert asked.seconds(target, 5) <= 2 * max(0.5, speed) * rendition_cost(asked.facts, asked.spec)


@pytest.mark.alone
def test_two_hundred_requests_at_random(tmp_path: Path) -> None:
    images = files(tmp_path)
    measured: list[tuple[Sample, float, float]] = []
    for sample in at_random(20261126, 260, images):
        try:
            seconds = sample.seconds(tmp_path / "target")
        except EngineError:
            continue
        measured.append((sample, seconds, rendition_cost(sample.facts, sample.spec)))
        if len(measured) == 200:
            break
    assert len(measured) == 200
    # Spearman's coefficient.
    correlation = statistics.correlation(_ranks([one[1] for one in measured]), _ranks([one[2] for one in measured]))
    assert correlation >= 0.9, correlation
    # This machine's speed against that of the weights, by a few requests of one kind.
    path, facts = next((path, facts) for path, facts in images.items() if path.name == "1600.JPEG")
    spec = RenditionSpec("WEBP", width=800)
    speed = Sample(path, facts, spec).seconds(tmp_path / "target", 5) / rendition_cost(facts, spec)
    for sample, seconds, reckoned in measured:
        most = max(0.01, 3 * reckoned * max(1.0, speed))
        if seconds > most:  # what else runs on the machine takes CPU time, too
            seconds = sample.seconds(tmp_path / "target", 3)
        assert seconds <= most, (sample.path.name, sample.spec.canonical(), seconds, reckoned, speed)
