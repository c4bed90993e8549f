"""No place leaves the house: one photograph in every format that can hold it, asked for at every door."""

import base64
import io
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from progimage.engine import FORMATS
from tests import pictures
from tests.integration.server import Server
from tests.photographs import SOURCES, leaked
from tests.programs import has

ACCEPTS = ["", "*/*", "image/avif,image/webp,*/*", "image/webp,*/*", "image/jxl,*/*", "image/png"]


def places_told(data: bytes, folder: Path) -> list[str]:
    """Return what exiftool, where it is installed, finds of a place."""
    if not has("exiftool"):
        return []
    (folder / "asked").write_bytes(data)
    done = subprocess.run(["exiftool", "-a", "-G1", "-s", "-ee", folder / "asked"], capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if "GPS" in line or "Creator" in line or "Artist" in line]


@pytest.mark.parametrize("source", SOURCES)
def test_no_door_gives_a_place_away(server: Server, tmp_path: Path, source: str) -> None:
    data = SOURCES[source]()
    reference = server.put(data, "photograph")
    format = FORMATS[server.get(f"{reference}/info").json()["format"]]
    own = format.extensions[0]
    assert server.get(reference).content == data
    answers = [server.get(f"{reference}.{own}"), server.get(f"{reference}.{own}?download=mine"),
               server.client.post(f"/transform.{own}", content=data), server.client.post("/transform", content=data),
               server.client.get(f"/iiif/3/{reference}/full/max/0/default.jpg")]  # fmt: skip
    answers += [server.get(f"{reference}.auto", headers={"accept": accept}) for accept in ACCEPTS]
    answers += [server.get(f"{reference}.jpg?width=30"), server.get(f"{reference}.webp")]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert not leaked(answer.content) and not places_told(answer.content, tmp_path), answer.url
    wanted = {"references": [reference], "extension": own}
    many = server.client.post("/storage/renditions", json=wanted, headers={"accept": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(many.content)) as archive:
        pictures_in_it = [name for name in archive.namelist() if not name.endswith(".ndjson")]
        assert len(pictures_in_it) == 1
        assert not leaked(archive.read(pictures_in_it[0]))
    described = server.client.post(f"/transform.{own}", files=[("data", ("a", data)), ("data", ("b", data))],
                                   headers={"accept": "application/x-ndjson"})  # fmt: skip
    for line in described.text.splitlines():
        found = json.loads(line)
        (content,) = (value for value in found.values() if isinstance(value, str) and len(value) > 200)
        assert not leaked(base64.b64decode(content))


def test_a_copy_is_a_rendition_with_an_etag_of_its_own(server: Server) -> None:
    data = SOURCES["JPEG"]()
    reference = server.put(data)
    original, copy = server.get(reference), server.get(f"{reference}.jpg")
    assert original.headers["etag"] != copy.headers["etag"]
    assert server.get(f"{reference}.jpg", headers={"if-none-match": original.headers["etag"]}).status_code == 200
    assert server.get(f"{reference}.jpg", headers={"if-none-match": copy.headers["etag"]}).status_code == 304
    assert pictures.open_bytes(copy.content).tobytes() == pictures.open_bytes(data).tobytes()
    wanted = {"references": [reference], "extension": "jpg"}
    described = server.client.post("/storage/renditions", json=wanted).json()
    assert described["etag"] in copy.headers["etag"] and described["bytes"] == len(copy.content)


def test_what_is_kept_is_asked_for(server: Server) -> None:
    reference = server.put(SOURCES["JPEG to be turned"]())
    kept = pictures.open_bytes(server.get(f"{reference}.jpg?keep=exif").content).getexif()
    assert kept.get_ifd(0x8825) and kept[0x0112] == 6
