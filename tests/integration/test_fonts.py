"""Texts are set in the fonts that the service has, whatever this machine has."""

import gzip
import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from progimage.engine.fonts import font_files
from tests import pictures
from tests.integration.server import Server, serving
from tests.programs import needs

XMLNS = 'xmlns="http://www.w3.org/2000/svg"'
SAID = {
    "letters": "SVG text Ж 日本 serif",
    "shaped": "বাংলা ខ្មែរ བོད العربية",
    "emoji": "😀 ★",
}
HIDE = """
for folder in /etc/fonts /usr/share/fonts /usr/local/share/fonts /usr/share/fontconfig /var/cache/fontconfig \\
    "$HOME"/.fonts "$HOME"/.local/share/fonts "$HOME"/.cache/fontconfig; do
    if [ -d "$folder" ]; then mount -t tmpfs none "$folder" || exit 97; fi
done
exec "$@"
"""


def svg(text: str, family: str = "Arial, sans-serif") -> bytes:
    said = f'<text x="5" y="40" font-size="28" font-family="{family}">{text}</text>'
    return f'<svg {XMLNS} width="500" height="60">{said}</svg>'.encode()


def drawn(server: Server) -> dict[str, str]:
    """The hashes of what is made of each text, in a drawing and on a picture."""
    photo = server.put(pictures.saved(pictures.colour((500, 60)), "PNG"))
    made: dict[str, str] = {}
    for name, text in SAID.items():
        paths = f"{server.put(svg(text))}.png", f"{photo}.png?text={text}&text_size=20"
        made |= {f"{name} {path[36:46]}": hashlib.sha256(server.get(path).content).hexdigest() for path in paths}
    return made


def test_a_system_without_fonts_makes_the_same_bytes(server: Server, tmp_path: Path) -> None:
    needs("fc-list")
    tried = subprocess.run(["unshare", "-rm", "sh", "-c", HIDE, "sh", "fc-list"], capture_output=True, text=True)
    if tried.returncode == 97 or "Operation not permitted" in tried.stderr:
        pytest.skip(f"fonts can't be hidden here: {tried.stderr}")
    assert tried.stdout == ""
    with serving(tmp_path / "data", wrapper=("unshare", "-rm", "sh", "-c", HIDE, "sh")) as bare:
        assert drawn(bare) == drawn(server)


def test_the_configuration_of_fonts_is_not_looked_at(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fonts.conf").write_text("<fontconfig><dir>/nowhere</dir></fontconfig>")
    environment = {"FONTCONFIG_FILE": str(tmp_path / "fonts.conf"), "FONTCONFIG_PATH": str(tmp_path)}
    environment |= {"LC_ALL": "ja_JP.UTF-8", "LANG": "ko_KR.UTF-8", "PANGO_LANGUAGE": "zh"}
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        with serving(tmp_path / "data") as other:
            assert drawn(other) == drawn(server)
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_fonts_of_a_folder_are_used(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "fonts"
    folder.mkdir()
    _renamed(next(file for file in font_files() if file.name == "RobotoMono[wght].ttf"), folder / "own.ttf")
    asked = svg("little words", "Own Letters")
    usual, expected = (server.get(f"{server.put(one)}.png") for one in (asked, svg("little words", "Roboto Mono")))
    with serving(tmp_path / "data", fonts=folder) as other:
        found = other.get(f"{other.put(asked)}.png")
        shaped = other.get(f"{other.put(svg('שלום little words', 'Own Letters'))}.png")
    assert found.content == expected.content != usual.content
    assert found.headers["etag"] != usual.headers["etag"]
    assert shaped.content == server.get(f"{server.put(svg('שלום little words', 'Roboto Mono'))}.png").content


def _renamed(source: Path, target: Path) -> None:
    """Write a font whose family is called otherwise, in as many letters."""
    data = source.read_bytes()
    for encoding in ("utf-16-be", "latin-1"):
        data = data.replace("Roboto Mono".encode(encoding), "Own Letters".encode(encoding))
    target.write_bytes(data)


@pytest.mark.parametrize("content", [None, b"no font"])
def test_a_folder_without_fonts_is_refused(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "fonts"
    folder.mkdir()
    if content:
        (folder / "a.ttf").write_bytes(content)
    with (
        pytest.raises(RuntimeError, match="as a font" if content else "has no file"),
        serving(tmp_path / "data", fonts=folder),
    ):
        pass


def test_a_compressed_drawing_is_delivered_as_what_it_holds(server: Server) -> None:
    document = svg("compressed")
    compressed = gzip.compress(document)
    reference = server.put(compressed, "a.svgz")
    answer = server.get(reference)
    assert answer.headers["content-type"] == "image/svg+xml" and answer.headers["content-encoding"] == "gzip"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.content == document  # the client undoes what the header says
    saved = server.get(f"{reference}?download")
    assert saved.headers["content-type"] == "application/gzip" and "content-encoding" not in saved.headers
    assert saved.content == compressed and "a.svgz" in saved.headers["content-disposition"]
    assert server.get(f"{reference}/info").json()["format"] == "SVGZ"
    assert pictures.open_bytes(server.get(f"{reference}.png").content).size == (500, 60)
