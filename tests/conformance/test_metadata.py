"""What a copy of coded pixels tells, as exiftool finds it, and that it shows the same, as another decoder does."""

from collections.abc import Callable

import numpy
import pytest

from progimage.engine import FORMATS
from tests.conformance import judges
from tests.conformance.tools import run
from tests.integration.server import Server
from tests.photographs import SOURCES, leaked

TOLD = ("[XMP", "[IPTC", "[Photoshop]", "[GPS]", "[MakerNotes]", "[ExifIFD]", "[IFD1]", "Comment", "Artist", "Creator")
"""What stands in exiftool's output where a file says more than how it is to be seen."""
NAMES = {"APNG": "PNG", "WEBP": "WebP", "MPO": "JPEG"}


@pytest.mark.parametrize("source", SOURCES)
def test_metadata(server: Server, cell: Callable[[str, str], None], source: str) -> None:
    name = source.split()[0]
    cell(NAMES.get(name, name), "metadata")
    data = SOURCES[source]()
    reference = server.put(data)
    extension = FORMATS[server.get(f"{reference}/info").json()["format"]].extensions[0]
    copy = server.get(f"{reference}.{extension}").content
    said = run("exiftool", "-a", "-G1", "-s", "-ee", "{copy." + extension + "}", **{f"copy_{extension}": copy}).decode()
    further_page = "[IFD1]" if name == "TIFF" else "no such"  # which it calls a thumbnail
    assert [line for line in said.splitlines() if any(word in line for word in TOLD) and further_page not in line] == []
    assert not leaked(copy), "a secret is in the bytes"
    if "animated" in source or source in ("APNG", "MPO", "WEBP to be turned"):
        return  # judges look at the first picture only, or at no pixels that are turned
    judge = "jpeg" if extension == "jpg" else extension
    assert numpy.array_equal(judges.seen(judge, data), judges.seen(judge, copy)), "pixels differ"
