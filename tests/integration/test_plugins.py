"""What other packages add, as docs/adding-a-….md show: transformations, blob stores and endpoints.

The examples of these pages are installed outside of the package, as pip does it, beside a real server.
"""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from progimage.auth import EXPIRES, KEY_ID, SIGNATURE
from progimage.engine.transformations import NAMES_OF_THE_API
from progimage.http.params import DOWNLOAD
from progimage.images.options import DAMAGED
from progimage.images.requests import PRESET
from tests import pictures
from tests.integration.server import PROGIMAGE, Server, eventually, serving
from tests.plugins import install, install_example

PHOTO = pictures.saved(pictures.colour((2400, 1600)), "JPEG", quality=95)
SIZE = (40, 30)
QUICK: dict[str, Any] = {"scrub_rate": 0, "orphan_grace_seconds": 1, "sweep_seconds": 1, "undelete_seconds": 0}
EXAMPLES = ("adding-a-transformation.md", "adding-a-blob-store.md", "adding-an-endpoint.md")
TRANSFORMATION = """
from progimage.engine.parameters import parameter
from progimage.engine.transformations import Transformation
from progimage.engine.values import Flag, Reference

PARAMETER = parameter({kind}, "It.", {group!r}, default={default}, **{more})
ADDED = Transformation({{{name!r}: PARAMETER}}, lambda frame, operations, plan: frame)
"""
ROUTE = """
from litestar import get
from litestar.handlers import HTTPRouteHandler

@get({path!r}, sync_to_thread=False)
def handler() -> str:
    return ""

ROUTES = (handler,)
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of all pages."""
    folder = tmp_path_factory.mktemp("packages")
    for page in EXAMPLES:
        install_example(page, folder)
    return folder


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "blobs.sqlite"


@pytest.fixture(scope="module")
def server(packages: Path, database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with all three plugins."""
    data = tmp_path_factory.mktemp("data")
    with serving(
        data, packages, blobs_url=f"sqlite://{database}", presets='{"poster": "posterize=2"}', **QUICK
    ) as server:
        yield server


def levels(data: bytes) -> set[int]:
    return {value for band in pictures.open_bytes(data).convert("RGB").split() for value in band.tobytes()}


# --- all of them


def test_the_start_and_the_doctor_list_them(server: Server) -> None:
    for text in (server.log(), server.command("doctor")):
        for package in ("posterize-plugin 1.0", "sqlite-store 1.0", "element-endpoint 1.0"):
            assert package in text


@pytest.mark.parametrize("group", ["codecs", "transformations", "blob_stores", "routes"])
def test_a_plugin_that_cannot_be_imported_stops_the_start_with_a_line_that_names_it(group: str, tmp_path: Path) -> None:
    install(tmp_path, f"progimage.{group}", "broken = broken_plugin:ADDED", "import a_module_that_is_not_there\n")
    said = refusal(tmp_path)
    assert "broken" in said and "broken-plugin 1.0" in said and "a_module_that_is_not_there" in said


@pytest.mark.parametrize("group", ["codecs", "transformations", "blob_stores", "routes"])
def test_a_plugin_that_names_something_else_stops_the_start(group: str, tmp_path: Path) -> None:
    install(tmp_path, f"progimage.{group}", "broken = broken_plugin:ADDED", "ADDED = 3\n")
    assert "broken-plugin 1.0" in refusal(tmp_path)


def refusal(packages: Path, **settings: str) -> str:
    """Return the one line with which the server ends."""
    environment = os.environ | {"PYTHONPATH": str(packages)} | settings
    command = [PROGIMAGE, "serve", "--port", "0", "--data-dir", str(packages / "data")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


# --- transformations


def test_a_transformation_is_applied(server: Server) -> None:
    reference = server.put(pictures.saved(pictures.colour(SIZE), "PNG"))
    assert len(levels(server.get(f"{reference}.png").content)) > 8
    for query in ("posterize=2", "posterise=2", "ops=posterize:2", "preset=poster", "posterize=2&width=20"):
        assert levels(server.get(f"{reference}.png?{query}").content) == {0, 255}, query
    assert levels(server.get(f"{reference}.png?posterize").content) == {0, 85, 170, 255}


def test_it_runs_in_its_place(server: Server) -> None:
    reference = server.put(pictures.saved(pictures.colour((400, 300)), "PNG"))
    assert levels(server.get(f"{reference}.png?posterize=2&grayscale").content) == {0, 255}  # after the other tones
    assert len(levels(server.get(f"{reference}.png?posterize=2&blur=3").content)) > 8  # before effects


def test_it_keeps_alpha_and_depth(server: Server) -> None:
    image = pictures.colour(SIZE).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(SIZE))
    reference = server.put(pictures.saved(image, "PNG"))
    made = pictures.open_bytes(server.get(f"{reference}.png?posterize=2").content)
    assert made.mode == "RGBA" and made.getchannel("A").tobytes() == image.getchannel("A").tobytes()


def test_a_wrong_value_is_refused_with_what_is_allowed(server: Server) -> None:
    reference = server.put(pictures.saved(pictures.colour(SIZE), "PNG"))
    answer = server.get(f"{reference}.png?posterize=1")
    assert answer.status_code == 400
    problem = answer.json()
    assert (problem["parameter"], problem["given"]) == ("posterize", "1") and "2 to 255" in problem["allowed"]
    assert server.get(f"{reference}.avif?posterize=2&hdr=keep").json()["parameter"] == "hdr"


def test_it_is_described_as_any_other(server: Server) -> None:
    rows = server.client.get("/parameters").json()
    names = [row["name"] for row in rows]
    (row,) = (row for row in rows if row["name"] == "posterize")
    assert row["group"] == "Tone" and names.index("posterize") == names.index("threshold") + 1
    assert "Reduce each channel" in server.client.get("/docs/openapi.json").text


def test_it_costs_what_it_says(packages: Path) -> None:
    code = """
from progimage.engine import Facts, RenditionSpec, rendition_cost
facts = Facts("JPEG", 2000, 1000)
plain, more = (rendition_cost(facts, RenditionSpec.parse("PNG", query)) for query in ([], [("posterize", "2")]))
print(round(more - plain, 6))
"""
    assert run(packages, code) == "0.04"


def test_one_may_have_several_parameters_and_make_an_image_transparent(tmp_path: Path) -> None:
    code = """
from progimage.engine.parameters import parameter
from progimage.engine.transformations import Transformation
from progimage.engine.values import Flag, Number

GROUP = "Frame and mask"
ADDED = Transformation(
    {"fade": parameter(Flag(), "It.", GROUP, default=False),
     "fade_by": parameter(Number(0, 1), "By.", GROUP, default=0.5, needs="fade")},
    lambda frame, operations, plan: frame,
    transparent=True,
)
"""
    install(tmp_path, "progimage.transformations", "fade = fading:ADDED", code)
    looked_at = """
from progimage.engine import InvalidParameter, RenditionSpec
from progimage.engine.pipeline import STAGE
from progimage.engine.spec import may_be_transparent

for query in ([], [("fade", "")], [("fade_by", "0.2"), ("fade", "")]):
    spec = RenditionSpec.parse("PNG", query)
    print(spec.canonical(), may_be_transparent(spec, False))
try:
    RenditionSpec.parse("PNG", [("fade_by", "0.2")])
except InvalidParameter as error:
    print(error.allowed)
names = [step.__name__ for step in STAGE]
print(names[names.index("run") - 1])
"""
    assert run(tmp_path, looked_at).splitlines() == [
        "PNG False", "PNG?fade=true True", "PNG?fade=true&fade_by=0.2 True", "only together with fade", "border",
    ]  # fmt: skip


def test_a_new_version_makes_new_renditions(tmp_path: Path) -> None:
    tags = []
    with serving(tmp_path / "data") as server:
        reference = server.put(pictures.saved(pictures.colour(SIZE), "PNG"))
        tags.append(server.get(f"{reference}.png?width=20").headers["etag"])
    (tmp_path / "packages").mkdir()
    for version in ("1.0", "1.1"):
        install_example("adding-a-transformation.md", tmp_path / "packages", version)
        with serving(tmp_path / "data", tmp_path / "packages") as server:
            tags.append(server.get(f"{reference}.png?width=20").headers["etag"])
    assert len(set(tags)) == 3


@pytest.mark.parametrize(
    "name", ["width", "w", "quality", "q", "format", "references", "canonical", "download", "Big", "if"]
)
def test_a_name_that_is_taken_is_refused(name: str, tmp_path: Path) -> None:
    assert f"'{name}'" in refused_transformation(tmp_path, name=name)


def test_an_alias_that_is_taken_is_refused(tmp_path: Path) -> None:
    assert "'dpi'" in refused_transformation(tmp_path, name="fresh", more={"aliases": ("dpi",)})


def test_a_group_and_a_kind_that_do_not_work_are_refused(tmp_path: Path) -> None:
    assert "Tone" in refused_transformation(tmp_path, name="fresh", group="Colours")
    assert "Tone" in refused_transformation(tmp_path, name="fresh", group="Region")
    assert "other images" in refused_transformation(tmp_path, name="fresh", kind="Reference()", default="None")


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    for module in ("first_plugin", "second_plugin"):
        code = TRANSFORMATION.format(name="fresh", kind="Flag()", group="Tone", default="False", more={})
        install(tmp_path, "progimage.transformations", f"{module} = {module}:ADDED", code)
    assert "second-plugin 1.0" in refusal(tmp_path)


def test_no_parameter_of_the_api_can_be_taken() -> None:
    assert {EXPIRES, KEY_ID, SIGNATURE, DOWNLOAD, DAMAGED, PRESET} <= NAMES_OF_THE_API


def refused_transformation(
    packages: Path, kind: str = "Flag()", group: str = "Tone", default: str = "False", **more: object
) -> str:
    code = TRANSFORMATION.format(**{"kind": kind, "group": group, "default": default, "more": {}} | more)
    install(packages, "progimage.transformations", "taken = taken_plugin:ADDED", code)
    said = refusal(packages)
    assert "taken-plugin 1.0" in said
    return said


def run(packages: Path, code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(packages)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


# --- blob stores


def names(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as opened:
        return sorted(row[0] for row in opened.execute("SELECT name FROM blobs"))


def test_a_store_has_originals_from_upload_to_sweep(server: Server, database: Path) -> None:
    name = hashlib.sha256(PHOTO).hexdigest()
    reference = server.put(PHOTO)
    assert [one for one in names(database) if one.startswith(name)] == [name, f"{name}-1024", f"{name}-512"]
    assert "deployment" in names(database) and not list((server.data_dir).glob("blobs/*"))
    assert server.get(reference).content == PHOTO
    part = server.get(reference, headers={"range": "bytes=1000-2999"})
    assert part.status_code == 206 and part.content == PHOTO[1000:3000]
    assert pictures.open_bytes(server.get(f"{reference}.png?width=200").content).size == (200, 133)
    assert server.command("check", "--deep") == "" and server.command("scrub") == ""
    assert server.client.delete(f"/storage/{reference}").status_code == 204
    eventually(lambda: not [one for one in names(database) if one.startswith(name)])


def test_a_store_is_used_again_after_a_restart(packages: Path, tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'blobs.sqlite'}"
    with serving(tmp_path / "data", packages, blobs_url=url) as server:
        reference = server.put(PHOTO)
    for cached in (tmp_path / "data/originals", tmp_path / "data/renditions"):
        shutil.rmtree(cached, ignore_errors=True)
    with serving(tmp_path / "data", packages, blobs_url=url, **QUICK) as server:
        assert server.get(reference).content == PHOTO
        assert server.get(f"{reference}.webp?width=100").status_code == 200
        assert "sqlite://" in server.command("doctor")


def test_a_store_is_backed_up_and_shared_and_can_be_the_second_one(packages: Path, tmp_path: Path) -> None:
    stores: dict[str, Any] = {
        "blobs_url": f"sqlite://{tmp_path / 'first'}",
        "second_blobs_url": f"sqlite://{tmp_path / 'second'}",
    }
    name = hashlib.sha256(PHOTO).hexdigest()
    with serving(tmp_path / "data", packages, http_processes=2, **stores, **QUICK) as server:
        reference = server.put(PHOTO)
        assert {server.get(reference).content for _ in range(8)} == {PHOTO}
        with closing(sqlite3.connect(tmp_path / "second")) as second, second:
            second.execute("INSERT INTO blobs VALUES (?, ?, 0)", (name, PHOTO))
        with closing(sqlite3.connect(tmp_path / "first")) as first, first:
            first.execute("DELETE FROM blobs WHERE name = ?", (name,))
        assert "restored" in server.command("scrub")
        assert name in names(tmp_path / "first")
        server.command("backup", str(tmp_path / "backup"))
        server.command("backups", "verify", str(tmp_path / "backup"))


def test_what_is_missing_or_damaged_in_a_store_is_found(packages: Path, tmp_path: Path) -> None:
    database = tmp_path / "blobs.sqlite"
    with serving(
        tmp_path / "data", packages, blobs_url=f"sqlite://{database}", originals_cache_bytes=0, **QUICK
    ) as server:
        small = pictures.saved(pictures.colour(SIZE), "PNG")
        reference, other = server.put(PHOTO), server.put(small)
        name = hashlib.sha256(PHOTO).hexdigest()
        with closing(sqlite3.connect(database)) as opened, opened:
            opened.execute("UPDATE blobs SET data = zeroblob(length(data)) WHERE name = ?", (name,))
        assert server.get(reference).status_code == 503
        server.put(PHOTO)  # which heals it
        assert server.get(reference).content == PHOTO
        with closing(sqlite3.connect(database)) as opened, opened:
            opened.execute("DELETE FROM blobs WHERE name = ?", (hashlib.sha256(small).hexdigest(),))
        assert server.get(other).status_code == 503
        with closing(sqlite3.connect(database)) as opened, opened:
            opened.execute("UPDATE blobs SET data = CAST('another' AS BLOB) WHERE name = 'deployment'")
        environment = server.environment | {"PROGIMAGE_DATA_DIR": str(server.data_dir)}
        done = subprocess.run([PROGIMAGE, "doctor"], env=environment, capture_output=True, text=True)
        assert done.returncode == 1 and re.search("error +deployment", done.stdout)
        assert server.get(reference).status_code == 200


def test_a_store_that_fails_is_unavailable_and_is_tried_again(tmp_path: Path) -> None:
    code = """
import shutil
from pathlib import Path
from progimage.storage import Entry

class Failing:
    def __init__(self, folder):
        self.folder = folder
    def put(self, name, source, media_type):
        if (self.folder / "fails once").exists():
            (self.folder / "fails once").unlink()
            raise ConnectionError("it is away")
        shutil.copyfile(source, self.folder / f"blob of {name}")
    def read(self, name, start, end):
        if (self.folder / "is away").exists():
            raise ConnectionError("it is away")
        return (self.folder / f"blob of {name}").read_bytes()[start:end]
    def size(self, name):
        return (self.folder / f"blob of {name}").stat().st_size
    def delete(self, name):
        (self.folder / f"blob of {name}").unlink(missing_ok=True)
    def entries(self):
        for file in self.folder.glob("blob of *"):
            yield Entry(file.name[8:], file.stat().st_size, file.stat().st_mtime)

def open_store(url, options, seconds):
    assert options == {"secret": "yes"} and seconds == 3
    return Failing(Path(url.removeprefix("failing://")))
"""
    install(tmp_path, "progimage.blob_stores", "failing = failing_store:open_store", code)
    folder = tmp_path / "store"
    folder.mkdir()
    settings: dict[str, Any] = {
        "blobs_url": f"failing://{folder}",
        "blobs_options": '{"secret": "yes"}',
        "store_seconds": 3,
    }
    with serving(tmp_path / "data", tmp_path, **settings) as server:
        (folder / "fails once").touch()
        reference = server.put(PHOTO)
        assert not (folder / "fails once").exists() and server.get(reference).content == PHOTO
        (folder / "is away").touch()
        shutil.rmtree(server.data_dir / "originals")  # its copies
        answer = server.get(f"{reference}.png?width=300")
        assert answer.status_code == 503 and "store-unavailable" in answer.json()["type"]
        (folder / "is away").unlink()
        assert server.get(f"{reference}.png?width=300").status_code == 200


def test_a_scheme_that_is_unknown_or_taken_is_refused(packages: Path, tmp_path: Path) -> None:
    said = refusal_of_settings(packages, PROGIMAGE_BLOBS_URL="mongo://somewhere/")
    assert "sqlite:" in said and "s3:" in said
    said = refusal_of_settings(packages, PROGIMAGE_BLOBS_URL="sqlite:///x", PROGIMAGE_SEND_ORIGINALS="redirect")
    assert "cloud store" in said
    install(tmp_path, "progimage.blob_stores", "s3 = taken_store:open_store", "def open_store(*_): ...\n")
    assert "taken-store 1.0" in refusal(tmp_path)


def test_a_factory_that_fails_is_named(tmp_path: Path) -> None:
    code = "def open_store(url, options, seconds):\n    raise RuntimeError('no such host')\n"
    install(tmp_path, "progimage.blob_stores", "failing = failing_store:open_store", code)
    said = refusal(tmp_path, PROGIMAGE_BLOBS_URL="failing://x")
    assert "failing-store 1.0" in said and "no such host" in said
    install(
        tmp_path, "progimage.blob_stores", "failing = failing_store:open_store", "def open_store(*_):\n    return 3\n"
    )
    said = refusal(tmp_path, PROGIMAGE_BLOBS_URL="failing://x")
    assert "failing-store 1.0" in said and "put" in said


def refusal_of_settings(packages: Path, **settings: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(packages)} | settings
    command = [PROGIMAGE, "serve", "--port", "0", "--data-dir", str(packages / "data")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr


# --- endpoints


def test_an_endpoint_answers(server: Server) -> None:
    reference = server.put(pictures.saved(pictures.colour(SIZE), "PNG"))
    answer = server.get(f"{reference}/element?extension=webp")
    assert answer.status_code == 200 and answer.json()["is_own"] is True
    assert f"/storage/{reference}.webp?width=640 640w" in answer.json()["html"]
    assert "x-content-type-options" in answer.headers and "x-request-id" in answer.headers


def test_its_errors_are_problems(server: Server) -> None:
    reference = server.put(pictures.saved(pictures.colour(SIZE), "PNG"))
    for query, parameter in (
        ("extension=gif", "extension"),
        ("colour=red", "colour"),
        ("extension=webp&extension=jpg", "extension"),
    ):
        answer = server.get(f"{reference}/element?{query}")
        assert answer.status_code == 400, query
        assert answer.headers["content-type"] == "application/problem+json" and answer.json()["parameter"] == parameter
    assert server.get(f"{reference[:-1]}/element").status_code == 404


def test_it_is_in_the_api_document(server: Server) -> None:
    document = server.client.get("/docs/openapi.json").json()
    operation = document["paths"]["/storage/{reference}/element"]["get"]
    assert operation["summary"] == "Get an HTML element"
    assert {parameter["name"] for parameter in operation["parameters"]} == {"reference", "extension"}
    assert set(operation["responses"]) == {"200", "400", "401", "403", "404"}


def test_its_rights_are_checked(packages: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", packages, access="keys", visibility="key") as server:
        owner, stranger, uploader = server.as_owner("ann"), server.as_owner("bob"), server.as_owner("ann", "upload")
        reference = owner.put("/storage/", content=PHOTO, headers={"content-type": "image/jpeg"}).text
        path = f"/storage/{reference}/element"
        assert [client.get(path).status_code for client in (owner, stranger, uploader, server.client)] == [
            200,
            404,
            403,
            401,
        ]


@pytest.mark.parametrize("path", ["/formats", "/formats/", "/storage/{name:str}", "/", "/docs/mine", "/page"])
def test_a_path_that_is_taken_is_refused(path: str, tmp_path: Path) -> None:
    install(tmp_path, "progimage.routes", "taken = taken_route:ROUTES", ROUTE.format(path=path))
    said = refusal(tmp_path)
    assert "taken-route 1.0" in said and f"{path.rstrip('/') or '/'}" in said


def test_a_path_of_two_plugins_is_refused(tmp_path: Path) -> None:
    for module in ("first_route", "second_route"):
        install(tmp_path, "progimage.routes", f"{module} = {module}:ROUTES", ROUTE.format(path="/mine"))
    said = refusal(tmp_path)
    assert "second-route 1.0" in said and "first-route 1.0" in said


def test_a_handler_that_litestar_refuses_stops_the_start(tmp_path: Path) -> None:
    code = ROUTE.format(path="/mine").replace("-> str", "")
    install(tmp_path, "progimage.routes", "bad = bad_route:ROUTES", code)
    assert "bad-route 1.0" in refusal(tmp_path)


def test_the_documents_of_the_service_stay_as_they_are(server: Server) -> None:
    document = json.loads(
        run(
            Path("/nonexistent"),
            "import json; from progimage.app import openapi_document; print(json.dumps(openapi_document()))",
        )
    )
    paths = server.client.get("/docs/openapi.json").json()["paths"]
    assert set(paths) - set(document["paths"]) == {"/storage/{reference}/element"}
