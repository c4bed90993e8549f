"""The services that are compared: how each is started, and what its requests look like.

A peer is found in the folder of peers (`--peers`, by default build/peers) or on the PATH; bench/README.md says how to
get it there. One that is not there is reported as absent.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from PIL import Image

from bench.load import CORES, Request, ask
from bench.pictures import Pictures

QUALITY = {"jpg": 80, "webp": 80, "avif": 60}
"""What everyone is told to encode with."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A conversion.

    Attributes:
        source: The name of the file.
        extension: Of the format to make.
        width: To make it as wide, in pixels, or None: as it is.
        asked_quality: What to encode with, or None: see `QUALITY`.
    """

    source: str
    extension: str
    width: int | None = None
    asked_quality: int | None = None

    @property
    def quality(self) -> int | None:
        """What to encode with, or None for a format that has no such thing."""
        return self.asked_quality or QUALITY.get(self.extension)


@dataclass(slots=True)
class Service:
    """A running service.

    Attributes:
        name: What it is called.
        version: Of it, and of its codecs' library where that says more.
        process: It.
        port: Where it listens.
        convert: Makes the request for a conversion, or None: it can't do it.
        posted: Makes the same request with the image as its body, where that is another one.
        start_seconds: How long it took until it answered.
    """

    name: str
    version: str
    process: psutil.Process
    port: int
    convert: Callable[[Conversion], Request | None]
    posted: Callable[[Conversion], Request | None] | None = None
    start_seconds: float = 0


class Absent(Exception):
    """A peer is not here, and why."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(command: list[str | Path], port: int, probe: str, log: Path, **environment: object) -> psutil.Process:
    """Start a server, and wait until it answers anything at all."""
    with log.open("wb") as file:
        process = psutil.Popen(
            [str(part) for part in command],
            env=os.environ | {name: str(value) for name, value in environment.items()},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            ask(port, Request(probe))
        except OSError:
            time.sleep(0.02)
        else:
            return process
    raise Absent(f"it did not start: {log.read_text(errors='replace')[-300:]}")


def _find(name: str, folder: Path) -> str:
    found = shutil.which(name, path=f"{folder}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise Absent(f"there is no program {name}")
    return found


def _said(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return (ran.stdout + ran.stderr).strip()


def progimage(pictures: Pictures, folder: Path, work: Path, name: str = "ProgImage", **settings: object) -> Service:
    """Start ProgImage, with one worker a core. It converts what is posted to it."""
    port = free_port()
    started = time.perf_counter()
    process = start(
        [Path(sys.executable).with_name("progimage"), "serve", "--port", str(port), "--data-dir", work / name],
        port,
        "/healthz",
        work / f"{name}.log",
        **{f"PROGIMAGE_{key.upper()}": value for key, value in settings.items()},
    )
    took = time.perf_counter() - started
    bodies = {path.name: path.read_bytes() for path in pictures.folder.iterdir()}

    def convert(wanted: Conversion) -> Request:
        size = f"width={wanted.width}&" if wanted.width else ""
        quality = f"quality={wanted.asked_quality}" if wanted.asked_quality else ""  # else its own, which is the same
        path = f"/transform.{wanted.extension}?{size}{quality}"
        return Request(path, "POST", bodies[wanted.source], {"content-type": "application/octet-stream"})

    version = _said(str(Path(sys.executable).with_name("progimage")), "--version").rpartition(" ")[2]
    return Service(name, version, process, port, convert, start_seconds=took)


def imgproxy(pictures: Pictures, folder: Path, work: Path) -> Service:
    """Start imgproxy, which reads from a folder."""
    program, port = _find("imgproxy", folder), free_port()
    process = start(
        [program],
        port,
        "/health",
        work / "imgproxy.log",
        IMGPROXY_BIND=f"127.0.0.1:{port}",
        IMGPROXY_LOCAL_FILESYSTEM_ROOT=pictures.folder,
        IMGPROXY_MAX_ANIMATION_FRAMES=500,
        IMGPROXY_MAX_SRC_RESOLUTION=100,
        IMGPROXY_LOG_LEVEL="error",
        IMGPROXY_TIMEOUT=120,
    )

    def convert(wanted: Conversion) -> Request:
        size = f"rs:fit:{wanted.width}:0/" if wanted.width else ""
        quality = f"q:{wanted.quality}/" if wanted.quality else ""
        return Request(f"/unsafe/{size}{quality}plain/local:///{wanted.source}@{wanted.extension}")

    return Service("imgproxy", _said(program, "version") or "?", process, port, convert)


def imaginary(pictures: Pictures, folder: Path, work: Path) -> Service:
    """Start imaginary, which reads from a folder."""
    program, port = _find("imaginary", folder), free_port()
    process = start(
        [program, "-a", "127.0.0.1", "-p", str(port), "-mount", pictures.folder, "-max-allowed-resolution", "100",
         "-log-level", "error"],
        port, "/health", work / "imaginary.log",
    )  # fmt: skip

    def convert(wanted: Conversion) -> Request | None:
        if wanted.source.endswith(".gif"):
            return None  # it has no animations
        action = f"resize?width={wanted.width}&" if wanted.width else "convert?"
        kind = {"jpg": "jpeg"}.get(wanted.extension, wanted.extension)
        quality = f"&quality={wanted.quality}" if wanted.quality else ""
        return Request(f"/{action}type={kind}&file={wanted.source}&stripmeta=true{quality}")

    def posted(wanted: Conversion) -> Request | None:
        request = convert(wanted)
        if request is None:
            return None
        body = pictures[wanted.source].read_bytes()
        path = request.path.replace(f"file={wanted.source}&", "")
        return Request(
            path, "POST", body, {"content-type": Image.MIME[str(Image.open(pictures[wanted.source]).format)]}
        )

    return Service("imaginary", _said(program, "-v"), process, port, convert, posted)


def thumbor(pictures: Pictures, folder: Path, work: Path) -> Service:
    """Start thumbor with a process for each core; it reads from a folder and keeps no results."""
    program, port = Path(_find("thumbor", folder / "thumbor" / "bin")), free_port()
    configuration = work / "thumbor.conf"
    settings = {
        "LOADER": "thumbor.loaders.file_loader",
        "FILE_LOADER_ROOT_PATH": str(pictures.folder),
        "STORAGE": "thumbor.storages.no_storage",
        "RESULT_STORAGE": None,
        "QUALITY": 80,
        "ALLOW_UNSAFE_URL": True,
    }
    configuration.write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
    process = start(
        [program, "--port", str(port), "--ip", "127.0.0.1", "--conf", configuration, "--processes", str(CORES),
         "--log-level", "error"],
        port, "/healthcheck", work / "thumbor.log",
    )  # fmt: skip

    def convert(wanted: Conversion) -> Request:
        size = f"{wanted.width}x0/" if wanted.width else ""
        quality = f":quality({wanted.quality})" if wanted.quality else ""
        kind = {"jpg": "jpeg"}.get(wanted.extension, wanted.extension)
        return Request(f"/unsafe/{size}filters:format({kind}){quality}/{wanted.source}")

    packages = _said(str(program.with_name("python")), "-m", "pip", "list", "--disable-pip-version-check")
    version = next(line.split()[1] for line in packages.splitlines() if line.startswith("thumbor "))
    return Service("thumbor", version, process, port, convert)


def ipx(pictures: Pictures, folder: Path, work: Path) -> Service:
    """Start IPX, which reads from a folder."""
    package, port = folder / "ipx" / "node_modules" / "ipx", free_port()
    if not package.exists():
        raise Absent(f"there is no {package}")
    process = start(
        [_find("node", folder), package / "bin" / "ipx.mjs", "serve", "--dir", pictures.folder, "--port", str(port),
         "--host", "127.0.0.1"],
        port, "/", work / "ipx.log",
    )  # fmt: skip

    def convert(wanted: Conversion) -> Request:
        kind = {"jpg": "jpeg"}.get(wanted.extension, wanted.extension)
        parts = [f"f_{kind}", *([f"w_{wanted.width}"] if wanted.width else [])]
        if wanted.quality:
            parts.append(f"q_{wanted.quality}")
        if wanted.source.endswith(".gif"):
            parts.append("animated")
        return Request(f"/{','.join(parts)}/{wanted.source}")

    return Service("IPX", _said("node", "-p", f"require('{package}/package.json').version"), process, port, convert)


_NGINX = """
daemon off;
{modules}
worker_processes {workers};
pid {work}/nginx-{port}.pid;
error_log {work}/nginx-{port}.err;
events {{ worker_connections 1024; }}
http {{
    include /etc/nginx/mime.types;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    access_log {work}/nginx-{port}.log;
    client_body_temp_path {work}/nginx-temp; proxy_temp_path {work}/nginx-temp; fastcgi_temp_path {work}/nginx-temp;
    uwsgi_temp_path {work}/nginx-temp; scgi_temp_path {work}/nginx-temp;
    server {{ listen 127.0.0.1:{port}; root {root}; {rules} }}
}}
"""


def _nginx(name: str, root: Path, folder: Path, work: Path, rules: str, modules: str = "", workers: int = 1) -> Service:
    program, port = _find("nginx", folder), free_port()
    configuration = work / f"nginx-{port}.conf"
    configuration.write_text(
        _NGINX.format(work=work, port=port, root=root, rules=rules, modules=modules, workers=workers)
    )
    process = start([program, "-p", work, "-c", configuration], port, "/", work / f"{name.replace(' ', '-')}.out")

    def convert(wanted: Conversion) -> Request | None:
        if not rules or (wanted.source, wanted.extension, wanted.width) != ("photo12.jpg", "jpg", 300):
            return None
        return Request(f"/{wanted.source}")

    return Service(name, _said(program, "-v").rpartition("/")[2], process, port, convert)


def nginx_image_filter(pictures: Pictures, folder: Path, work: Path) -> Service:
    """Start nginx with its image filter, which keeps the format and has one size for each location."""
    module = Path("/usr/lib/nginx/modules/ngx_http_image_filter_module.so")
    if not module.exists():
        raise Absent(f"there is no {module}")
    rules = "location /photo { image_filter resize 300 -; image_filter_jpeg_quality 80; image_filter_buffer 64M; }"
    return _nginx("nginx image_filter", pictures.folder, folder, work, rules, f"load_module {module};", CORES)


def nginx_static(root: Path, folder: Path, work: Path) -> Service:
    """Start nginx with one process, to deliver files."""
    return _nginx("nginx static", root, folder, work, "")


def empty_application(file: Path, work: Path) -> Service:
    """Start the server that ProgImage runs on, with an application that only sends one file's bytes."""
    port = free_port()
    command: list[str | Path] = [
        Path(sys.executable).with_name("granian"),
        "--interface",
        "asgi",
        "--http",
        "1",
        "--port",
        str(port),
    ]
    folder: list[str | Path] = ["--working-dir", Path(__file__).parent, "--no-access-log", "empty:app"]
    process = start([*command, *folder], port, "/", work / "empty.log", BENCH_FILE=file)
    return Service("Granian, empty application", "", process, port, lambda _: None)


CONVERTERS = (imgproxy, imaginary, thumbor, ipx, nginx_image_filter)
