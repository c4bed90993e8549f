"""The codecs: that each says all about its format, and that nothing else knows one by its name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import progimage
from progimage.engine import (
    CODECS,
    FORMATS,
    CorruptImage,
    EngineError,
    Limits,
    NotAnImage,
    RenditionSpec,
    inspect,
    render,
)
from progimage.engine.codecs.codec import Codec
from progimage.engine.modes import MODES
from tests import pictures

SOURCE = Path(progimage.__file__).parent
OUTSIDE = sorted(path for path in SOURCE.rglob("*.py") if "codecs" not in path.relative_to(SOURCE).parts)


def named_formats(tree: ast.AST) -> Iterator[ast.expr]:
    """Find what is compared with the name of a format, or is a key of a table that is one."""
    for node in ast.walk(tree):
        looked_at: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            looked_at = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            looked_at = list(node.keys)
        elif isinstance(node, ast.MatchValue):
            looked_at = [node.value]
        for one in looked_at:
            inside = one.elts if isinstance(one, ast.Tuple | ast.List | ast.Set) else [one]
            yield from (part for part in inside if isinstance(part, ast.Constant) and part.value in FORMATS)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_codecs_know_formats_by_their_names(path: Path) -> None:
    found = [(part.lineno, ast.unparse(part)) for part in named_formats(ast.parse(path.read_text()))]
    assert not found


def test_the_search_for_names_finds_them() -> None:
    text = 'a = name == "PNG" or name in ("GIF", other)\nb = {"JPEG": 1}\nmatch c:\n    case "TIFF":\n        pass\n'
    assert sorted(part.value for part in named_formats(ast.parse(text))) == ["GIF", "JPEG", "PNG", "TIFF"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_codec_says_what_its_format_is(codec: object) -> None:
    format = codec.format  # type: ignore[attr-defined]
    assert format.description and "/" in format.media_type and set(format.modes) <= set(MODES)
    assert format.can_read or format.can_write
    assert bool(format.usual_quality) == ("quality" in format.options)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_codec_has_all_that_one_has_to_have(codec: object) -> None:
    members = [*Codec.__annotations__, *(name for name in vars(Codec) if not name.startswith("_"))]
    assert [name for name in members if not hasattr(codec, name)] == []


@pytest.mark.parametrize("format", [name for name, one in FORMATS.items() if one.can_write and one.can_read])
def test_a_picture_can_be_had_in_its_own_format(tmp_path: Path, format: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(pictures.saved(pictures.colour(), "PNG"))
    render(source, RenditionSpec(format), target, Limits())
    render(target, RenditionSpec(format), source, Limits())
    assert inspect(source, Limits()).format == inspect(target, Limits()).format


def test_every_file_that_is_written_is_recognised() -> None:
    for name, format in FORMATS.items():
        recognises = CODECS[name].recognises
        by_pillow = hasattr(CODECS[name], "plugin")
        if not (format.can_write and format.can_read and recognises and by_pillow) or name == "MPO":
            continue
        mode = next(mode for mode in ("RGB", "RGBA", "L", "P", "1", "F") if mode in format.modes)
        data = pictures.saved(Image.new(mode, (16, 16)), getattr(CODECS[name], "plugin", name))
        assert recognises(data) or name in ("PBM", "PGM", "PFM", "PNM", "J2K"), name


@pytest.mark.parametrize(("name", "data"), [("PNG", b"\x89PNG\r\n\x1a\nrubbish"), ("TIFF", b"II*\0rubbish")])
def test_a_refusal_names_the_format_that_a_file_begins_like(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(NotAnImage, match=name):
        inspect(tmp_path / "file", Limits())


@pytest.mark.parametrize("length", range(1, 40))
def test_a_file_of_few_bytes_is_no_image(tmp_path: Path, length: int) -> None:
    for byte in (b"\0", b"\xff", b"P"):
        (tmp_path / "file").write_bytes(byte * length)
        with pytest.raises(EngineError):
            inspect(tmp_path / "file", Limits())


def test_an_image_without_pixels_is_corrupt(tmp_path: Path) -> None:
    data = bytearray(pictures.saved(Image.new("RGB", (16, 16)), "JPEG2000", no_jp2=True))
    for left in (16, 17):  # where the image begins on its canvas, in the header of the codestream
        data[16:20] = left.to_bytes(4, "big")
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(CorruptImage):
            inspect(tmp_path / "file", Limits())
