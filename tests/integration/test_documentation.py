"""The documentation: what stands there is true, what it shows can be run, and its links lead somewhere."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from progimage.settings import Settings
from tests import pictures
from tests.documentation import PAGES, ROOT, Block, blocks_of, reading
from tests.programs import needs
from tests.servers import serving_folder

_PROGRAMS = ("bash", "curl", "file", "jq")
_SHOWN = ("text", "html", "")
"""Blocks that are not there to be run: drawings and patterns; `test_recipes.py` has the HTML in a browser."""
_PICTURES = {
    "photo.jpg": "JPEG",
    "image.jpg": "JPEG",
    "photo.heic": "HEIF",
    "Pictures/a.jpg": "JPEG",
    "Pictures/b.png": "PNG",
}
"""What a reader has at hand."""


def runnable(page: Path) -> list[Block]:
    """The blocks of a page that are there to be run."""
    blocks = [block for block in blocks_of(page) if not block.not_run]
    return [block for block in blocks if block.language not in _SHOWN and not block.language.startswith("{")]


_RUN_ELSEWHERE = (
    "recipes.md",
    "adding-a-format.md",
    "adding-a-transformation.md",
    "adding-a-blob-store.md",
    "adding-an-endpoint.md",
)
_RUN = [page for page in PAGES if page.name not in _RUN_ELSEWHERE and runnable(page)]


@pytest.fixture(scope="module")
def example_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of pictures, which is https://example.org in the documentation."""
    folder = tmp_path_factory.mktemp("example.org")
    for number, name in enumerate(("a.jpg", "b.jpg")):
        (folder / name).write_bytes(pictures.saved(pictures.colour((200 + number, 100)), "JPEG"))
    with serving_folder(folder) as url:
        yield url


@pytest.mark.parametrize("page", _RUN, ids=lambda page: page.name)
def test_what_a_page_shows_can_be_run(
    page: Path, example_org: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(*_PROGRAMS)
    settings = {
        "upload_by_url": True,
        "fetch_private_networks": '["127.0.0.0/8"]',
        "fetch_ports": f"[{example_org.rpartition(':')[2]}]",
        "signing_keys": '["sixteen characters or more"]',
    }
    with reading(tmp_path, {"https://example.org": example_org}, **settings) as reader:
        (reader.folder / "Pictures").mkdir()
        for name, format in _PICTURES.items():
            (reader.folder / name).write_bytes(pictures.saved(pictures.colour((1200, 800)), format))
        monkeypatch.chdir(reader.folder)
        for name, value in reader.environment.items():
            monkeypatch.setenv(name, value)
        for block in runnable(page):
            reader.run(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_settings_of_a_page(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target
    known = Settings.variables() | {"PROGIMAGE_URL", "PROGIMAGE_KEY"}
    assert set(re.findall(r"\bPROGIMAGE_[A-Z_]*[A-Z]\b(?!_)", text)) <= known


def test_the_site(tmp_path: Path) -> None:
    """Every link and anchor between its pages is held against what is there; a warning is a failure."""
    sphinx = Path(sys.executable).with_name("sphinx-build")
    command: list[str | Path] = [sphinx, "--quiet", "--fail-on-warning", "--keep-going", ROOT / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    for page in ("index", "tutorial", "recipes", "http", "settings", "commands", "python", "durability", "changelog"):
        assert (tmp_path / f"{page}.html").stat().st_size > 5000
    for made in tmp_path.glob("*.html"):
        outside = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', made.read_text())
        assert not outside, f"{made.name} needs other hosts: {outside}"
