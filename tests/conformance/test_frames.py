"""Animations are what a browser shows: frame by frame, how long each, and how often."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy
import pytest

from tests.conformance import judges
from tests.conformance.animations import SIZE, Frame, apng, colours, gif, indices, webp
from tests.conformance.complaints import Complaints
from tests.conformance.judges import Animation, Chromium
from tests.conformance.making import jxl
from tests.conformance.tools import run
from tests.integration.server import Server

_SMALL = (30, 20)
_PLACES = ((4, 6), (20, 14), (30, 26))
_DURATIONS = (60, 100, 250, 400)


def _gif_frames(dispose: int, transparent: bool, at: tuple[tuple[int, int], ...] = _PLACES) -> list[Frame]:
    first = Frame(indices(SIZE, 3, transparent), duration=_DURATIONS[0], transparent=transparent)
    rest = (
        Frame(indices(_SMALL, 60 + 30 * n, transparent), place, duration, dispose, transparent=transparent)
        for n, (place, duration) in enumerate(zip(at, _DURATIONS[1:], strict=True))
    )
    return [first, *rest]


def _gif(dispose: int, transparent: bool, loop: int | None = 0) -> bytes:
    return gif(_gif_frames(dispose, transparent), loop)


def _gif_whose_first_is_cleared() -> bytes:
    frames = _gif_frames(1, transparent=True)
    return gif([Frame(frames[0].pixels, duration=60, dispose=2, transparent=True), *frames[1:]])


def _gif_beyond() -> bytes:
    return gif(_gif_frames(1, False, ((50, 6), (20, 40), (60, 44))))


def _gif_first_beyond() -> bytes:
    large = (SIZE[0] + 20, SIZE[1] + 10)
    return gif([Frame(indices(large, 3), duration=60), *_gif_frames(1, False)[1:]])


def _frames(dispose: int, blend: int, alpha: int = 120) -> list[Frame]:
    tints = ((200, 40, 90), (30, 160, 60), (60, 90, 220))
    first = Frame(colours(SIZE, (230, 200, 60), hole=True), duration=_DURATIONS[0])
    rest = (
        Frame(colours(_SMALL, tint, alpha, hole=True), place, duration, dispose, blend)
        for tint, place, duration in zip(tints, _PLACES, _DURATIONS[1:], strict=True)
    )
    return [first, *rest]


def _apng(dispose: int, blend: int) -> bytes:
    return apng(_frames(dispose, blend))


def _webp(dispose: int, blend: int) -> bytes:
    return webp(_frames(dispose, blend))


def _apng_whose_first_is_undone() -> bytes:
    frames = _frames(0, 0)
    return apng([Frame(frames[0].pixels, duration=60, dispose=2), *frames[1:]])


def _whole_gif(transparent: bool) -> bytes:
    """Frames as large as the canvas, since cjxl fails with others."""
    return gif([
        Frame(indices(SIZE, 20 + 40 * n, transparent), (0, 0), duration, 2 if transparent else 1, 0, transparent)
        for n, duration in enumerate(_DURATIONS)
    ])  # fmt: skip


def _whole_apng() -> bytes:
    return apng([
        Frame(colours(SIZE, (60 * n, 200 - 50 * n, 90), 120, hole=n % 2 == 1), (0, 0), duration)
        for n, duration in enumerate(_DURATIONS)
    ])  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """An animation.

    Attributes:
        format: Its format.
        how: What is special in it.
        make: Makes it.
        source: Its file that a browser can read, if it can't read this one.
    """

    format: str
    how: str
    make: Callable[[], bytes]
    source: tuple[str, Callable[[], bytes]] | None = None

    def __str__(self) -> str:
        return f"{self.format}, {self.how}"

    def shown(self, chromium: Chromium) -> Animation:
        extension, make = self.source or (self.format.lower(), self.make)
        return chromium.frames(extension, make())


def _jxl_of(extension: str, make: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: jxl(make(), extension)


_PLAIN_GIF = ("gif", lambda: _whole_gif(transparent=False))
_CLEAR_GIF = ("gif", lambda: _whole_gif(transparent=True))
_PLAIN_APNG = ("png", _whole_apng)
KINDS = (
    *(Kind("GIF", f"disposal {d}{'' if t else ' without a transparent colour'}", partial(_gif, d, t))
      for d in range(4) for t in (True, False)),
    *(Kind("GIF", f"disposal {d}, which is undefined", partial(_gif, d, transparent=True)) for d in range(4, 8)),
    Kind("GIF", "disposal 2 of the first frame", _gif_whose_first_is_cleared),
    Kind("GIF", "frames beyond the canvas", _gif_beyond),
    Kind("GIF", "no loop block", lambda: _gif(1, transparent=False, loop=None)),
    Kind("GIF", "two repeats", lambda: _gif(1, transparent=False, loop=2)),
    *(Kind("PNG", f"dispose {d}, blend {b}", partial(_apng, d, b)) for d in range(3) for b in (0, 1)),
    Kind("PNG", "dispose 2 of the first frame", _apng_whose_first_is_undone),
    Kind("PNG", "a default picture that is no frame", lambda: apng(_frames(0, 0), default=colours(SIZE, (9, 9, 9)))),
    Kind("PNG", "three plays", lambda: apng(_frames(0, 0), plays=3)),
    *(Kind("WebP", f"dispose {d}, blend {b}", partial(_webp, d, b)) for d in (0, 1) for b in (0, 1)),
    Kind("WebP", "three plays", lambda: webp(_frames(0, 0), plays=3)),
    Kind("JXL", "of a GIF", _jxl_of(*_PLAIN_GIF), _PLAIN_GIF),
    Kind("JXL", "of a GIF with clear frames", _jxl_of(*_CLEAR_GIF), _CLEAR_GIF),
    Kind("JXL", "of an APNG", _jxl_of("apng", _whole_apng), _PLAIN_APNG),
)  # fmt: skip
OUTPUTS = {"gif": "GIF", "apng": "PNG", "webp": "WebP", "avif": "AVIF"}
_ALIKE = 3


def _wrong(found: Animation, wanted: Animation, output: str) -> list[str]:
    """What is wrong with an animation that is the mirror image of another."""
    if len(found.frames) != len(wanted.frames):
        return [f"{len(found.frames)} frames, not {len(wanted.frames)}"]
    complaints = []
    if found.frames[0].shape != wanted.frames[0].shape:
        return ["another size"]
    if found.durations != wanted.durations:
        complaints.append("other durations")
    if found.plays != wanted.plays and output != "avif":
        complaints.append("another number of plays")
    for one, other in zip(found.frames, wanted.frames, strict=True):
        clear = numpy.array(other)
        if output == "gif":  # which has no half transparent pixels: these are judged by their alpha alone
            half = (clear[:, :, 3] > 0.05) & (clear[:, :, 3] < 0.95)
            clear[half], one = 0, numpy.where(half[:, ::-1, None], 0, one)
        if judges.difference(one[:, ::-1], clear) > _ALIKE:
            return [*complaints, "other frames"]
    return complaints


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.format == "JXL"], ids=str)
def test_judges_see_the_same_in_jxl(kind: Kind, chromium: Chromium) -> None:
    found = chromium.frames("png", run("djxl", "{a.jxl}", "{out.apng}", a_jxl=kind.make()))
    wanted = kind.shown(chromium)
    assert found.durations == wanted.durations
    for one, other in zip(found.frames, wanted.frames, strict=True):
        assert judges.difference(one, other) < _ALIKE


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_animations(
    server: Server, cell: Callable[[str, str], None], chromium: Chromium, kind: Kind, output: str
) -> None:
    cell(kind.format, "animation")
    if str(kind) == "PNG, dispose 0, blend 0" and output != "apng":
        cell(OUTPUTS[output], "animation")
    query = {"avif": "flop&quality=97&chroma=4:4:4", "webp": "flop&lossless"}.get(output, "flop")
    answer = server.get(f"{server.put(kind.make())}.{output}?{query}")
    assert answer.status_code == 200, f"{kind.how}: answered with {answer.status_code}"
    with Complaints() as complaints:
        try:
            found = chromium.frames("png" if output == "apng" else output, answer.content)
        except AssertionError as error:
            complaints.add(f"{kind.how}: {error}", output)
            return
        if output == "avif":  # whose colours Chromium changes on their way to the canvas
            found = replace(found, frames=judges.avif_frames(answer.content, len(found.frames)))
        for wrong in _wrong(found, kind.shown(chromium), output):
            complaints.add(f"{kind.how}: {wrong}", output)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_single_frames(server: Server, cell: Callable[[str, str], None], chromium: Chromium, kind: Kind) -> None:
    cell(kind.format, "animation")
    reference = server.put(kind.make())
    wanted = kind.shown(chromium)
    with Complaints() as complaints:
        info = server.get(f"{reference}/info").json()
        if (info["frames"], info["duration"]) != (len(wanted.frames), sum(wanted.durations)):
            complaints.add(f"{kind.how}: /info tells of other frames", f"{info['frames']}, {info['duration']} ms")
        for number, frame in enumerate(wanted.frames, 1):
            answer = server.get(f"{reference}.png?page={number}")
            if answer.status_code != 200:
                complaints.add(f"{kind.how}: no page={number}", answer.status_code)
            elif (found := judges.read_png(answer.content)).shape != frame.shape:
                complaints.add(f"{kind.how}: another size", number)
            elif judges.difference(found, frame) > _ALIKE:
                complaints.add(f"{kind.how}: other frames", f"page={number}")


@pytest.mark.parametrize("output", ["gif", "webp"])
def test_a_first_frame_does_not_enlarge_the_canvas(
    server: Server, cell: Callable[[str, str], None], chromium: Chromium, output: str
) -> None:
    cell("GIF", "animation")
    reference = server.put(_gif_first_beyond())
    answer = server.get(f"{reference}.{output}?flop{'&lossless' if output == 'webp' else ''}")
    found = chromium.frames(output, answer.content)
    inside = gif([Frame(indices((SIZE[0] + 20, SIZE[1] + 10), 3)[: SIZE[1], : SIZE[0]], duration=60),
                  *_gif_frames(1, False)[1:]])  # fmt: skip
    with Complaints() as complaints:
        info = server.get(f"{reference}/info").json()
        if (info["width"], info["height"]) != SIZE:
            complaints.add("a first frame beyond the canvas: /info tells another size", "info")
        for wrong in _wrong(found, chromium.frames("gif", inside), output):
            complaints.add(f"a first frame beyond the canvas: {wrong}", output)
