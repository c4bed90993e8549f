"""ProgImage beside its peers: the same images, the same work, on one machine, in one run.

Run it with `make bench`, or with some of its cases: `python -m bench.compare --only cold --seconds 5`. bench/README.md
says what is compared and how; docs/performance.md says what came out.
"""

import argparse
import io
import platform
import random
import re
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import numpy
import PIL
from PIL import Image
from skimage.metrics import structural_similarity

from bench import bare
from bench.load import CORES, Load, Request, ask, closed_loop, memory_of, quantile, wrk
from bench.peers import CONVERTERS, QUALITY, Absent, Conversion, Service, empty_application, nginx_static, progimage
from bench.pictures import Pictures, distinct
from bench.report import write

CONVERSIONS = {
    "12 MP JPEG to 300 px JPEG": Conversion("photo12.jpg", "jpg", 300),
    "12 MP JPEG to 1200 px WebP": Conversion("photo12.jpg", "webp", 1200),
    "12 MP JPEG to 300 px AVIF": Conversion("photo12.jpg", "avif", 300),
    "2 MP PNG to JPEG": Conversion("photo2.png", "jpg"),
    "2 MP JPEG to PNG": Conversion("photo2.jpg", "png"),
    "2 MP WebP to JPEG": Conversion("photo2.webp", "jpg"),
    "animated GIF to animated WebP": Conversion("animation.gif", "webp"),
}
SMALL = CONVERSIONS["12 MP JPEG to 300 px JPEG"]
MIX = [*[SMALL] * 5, *[CONVERSIONS["2 MP PNG to JPEG"]] * 2, *[CONVERSIONS["2 MP WebP to JPEG"]] * 2,
       CONVERSIONS["12 MP JPEG to 1200 px WebP"]]  # fmt: skip
STEADY_REQUESTS = 10_000
Asking = tuple[Service, Request | Callable[[int], Request] | None]
"""A service, and its request, or what makes one for each number; None: it has no such conversion."""
GROUPS = ("cold", "first", "bare", "delivery", "upload", "clients", "fairness", "memory", "steady", "start")


@dataclass(slots=True)
class Row:
    """What one service showed in one case.

    Attributes:
        group: One of `GROUPS`.
        case: What was done.
        service: By whom.
        loads: Its rounds.
        note: What the answers were like, or why there are none.
    """

    group: str
    case: str
    service: str
    loads: list[Load] = field(default_factory=list)
    note: str = ""

    def figures(self) -> dict[str, object]:
        """Return what the report shows."""
        figures: dict[str, object] = {
            "group": self.group,
            "case": self.case,
            "service": self.service,
            "note": self.note,
        }
        if self.loads:
            latencies = [latency for load in self.loads for latency in load.latencies]
            figures |= {
                "rate": statistics.median(load.rate for load in self.loads),
                "per_cpu_second": statistics.median(load.per_cpu_second for load in self.loads),
                "p50": quantile(latencies, 0.5),
                "p99": quantile(latencies, 0.99),
                "memory": max(load.peak_memory for load in self.loads),
                "failures": sum(len(load.failures) for load in self.loads),
            }
            if self.loads[0].failures:
                figures["note"] = f"{self.note} {self.loads[0].failures[0]}".strip()
        return figures


class Comparison:
    """One run.

    Args:
        arguments: Of the command line.
        work: A folder for what is made on the way.
    """

    def __init__(self, arguments: argparse.Namespace, work: Path) -> None:
        """Make the pictures."""
        self.seconds, self.rounds = arguments.seconds, arguments.rounds
        self.peers, self.work = arguments.peers, work
        self.pictures = Pictures.made_in(arguments.pictures)
        self.rows: list[Row] = []
        self.conversions = {case: wanted for case, wanted in CONVERSIONS.items() if arguments.case in case}
        self.absent: dict[str, str] = {}
        self.services: list[Service] = []
        self._numbers = count()
        self._stored: dict[tuple[str, str], str] = {}

    def start_services(self) -> None:
        """Start everyone."""
        self.own = progimage(self.pictures, self.peers, self.work)
        self.without_ladder = progimage(self.pictures, self.peers, self.work, "ProgImage-without-ladder", ladder=False)
        self.services = [self.own]
        for peer in CONVERTERS:
            try:
                self.services.append(peer(self.pictures, self.peers, self.work))
            except Absent as error:
                self.absent[peer.__name__] = str(error)
                print(f"{peer.__name__} is absent: {error}", file=sys.stderr)

    def stop_services(self) -> None:
        """Stop everyone."""
        for service in [*self.services, self.without_ladder]:
            service.process.terminate()

    def about(self) -> dict[str, object]:
        """Return what is to be known of the run."""
        versions = ", ".join(f"{service.name} {service.version}" for service in self.services)
        return {
            "services": versions,
            "absent": ", ".join(f"{name}: {why}" for name, why in self.absent.items()) or "none",
            "machine": f"{_processor()}, {CORES} cores, Linux {platform.release().partition('-')[0]}",
            "libraries": f"{platform.python_implementation()} {platform.python_version()}, pyvips' libvips"
            f" {bare.LIBVIPS}, Pillow {PIL.__version__}",
            "qualities": ", ".join(f"{extension} {quality}" for extension, quality in QUALITY.items()),
            "rounds": f"{self.rounds} of {self.seconds:g} s each, in turns; rates are the median round's",
        }

    def run(self, group: str) -> None:
        """Run one group of cases."""
        getattr(self, group)()

    # Each group of cases.

    def cold(self) -> None:
        """Conversions of an image that the service has never seen.

        ProgImage and imaginary get it posted; the others read it from a folder, which is compared with what ProgImage
        does with an image in its own store, without a ladder.
        """
        for case, wanted in self.conversions.items():
            asking: dict[str, Asking] = {service.name: (service, service.convert(wanted)) for service in self.services}
            asking["ProgImage, from its store"] = (
                self.without_ladder,
                self._stored_requests(self.without_ladder, wanted),
            )
            for service in self.services[1:]:
                if service.posted:
                    asking[f"{service.name}, posted"] = (service, service.posted(wanted))
            self._interleaved("cold", case, asking, wanted, clients=2 * CORES)

    def first(self) -> None:
        """Conversions of an image that was seen when it was uploaded, each asked for the first time."""
        for case, wanted in self.conversions.items():
            asking = {
                "ProgImage": (self.own, self._stored_requests(self.own, wanted)),
                "ProgImage without ladder": (self.without_ladder, self._stored_requests(self.without_ladder, wanted)),
                **{service.name: (service, service.convert(wanted)) for service in self.services[1:]},
            }
            self._interleaved("first", case, asking, wanted, clients=2 * CORES)

    def bare(self) -> None:
        """The same conversions by the bare libraries."""
        for case, wanted in self.conversions.items():
            for name, function in (("libvips", bare.by_vips), ("Pillow", bare.by_pillow)):
                row = Row("cold", case, f"bare {name}")
                for _ in range(self.rounds):
                    rate = bare.rate(function, self.pictures[wanted.source], wanted, self.seconds)
                    row.loads.append(_bare_load(rate))
                self._add(row)

    def delivery(self) -> None:
        """Answers that cost no pixels: cached renditions, originals, 304; nginx delivers the same bytes as files."""
        root = self.work / "static"
        root.mkdir(exist_ok=True)
        small, large = self._put("small.jpg"), self._put("photo12.jpg")
        paths = {
            "original of 100 KB": f"/storage/{small}",
            "original of 5 MB": f"/storage/{large}",
            "cached 300 px JPEG": f"/storage/{large}.jpg?width=300",
            "304 of the cached one": f"/storage/{large}.jpg?width=300",
        }
        nginx = nginx_static(root, self.peers, self.work)
        try:
            for case, path in paths.items():
                _, headers, body = ask(self.own.port, Request(path))
                (root / "file.jpg").write_bytes(body)
                _, theirs, _ = ask(nginx.port, Request("/file.jpg"))
                empty = empty_application(root / "file.jpg", self.work)
                asking = {
                    "ProgImage": (self.own, path, headers),
                    "Granian, empty application": (empty, "/", {"etag": "known"}),
                    "nginx static": (nginx, "/file.jpg", theirs),
                }
                rows = [Row("delivery", case, name, note=f"{len(body)} bytes") for name in asking]
                for _ in range(self.rounds):
                    for row, (service, at, sent) in zip(rows, asking.values(), strict=True):
                        known = {"If-None-Match": sent["etag"]} if case.startswith("304") else {}
                        request = Request(at, headers=known)
                        row.loads.append(wrk(service.process, service.port, request, 16, max(1, round(self.seconds))))
                empty.process.terminate()
                for row in rows:
                    self._add(row)
        finally:
            nginx.process.terminate()

    def upload(self) -> None:
        """Uploads of 5 MB, each of another file, and the bare decoding that they need."""
        data = self.pictures["photo12.jpg"].read_bytes()
        rows = [Row("upload", f"{len(data) / 1e6:.1f} MB JPEG", name) for name in
                ("ProgImage", "ProgImage without ladder", "bare decoding")]  # fmt: skip
        headers = {"content-type": "application/octet-stream"}
        for _ in range(self.rounds):
            for row, service in zip(rows, (self.own, self.without_ladder), strict=False):

                def request(_: int) -> Request:
                    return Request("/storage/", "PUT", distinct(data, next(self._numbers)), headers)

                row.loads.append(closed_loop(service.process, service.port, request, 2 * CORES, self.seconds))
            rate = bare.rate(bare.decode_fully, self.pictures["photo12.jpg"], SMALL, self.seconds)
            rows[2].loads.append(_bare_load(rate))
        for row in rows:
            self._add(row)

    def clients(self) -> None:
        """A mix of conversions, each asked for the first time, at 1, 8 and 64 clients."""
        able = [service for service in self.services[1:] if all(service.convert(wanted) for wanted in MIX)]
        for clients in (1, 8, 64):
            stored = [self._stored_requests(self.own, wanted) for wanted in MIX]
            asking: dict[str, Asking] = {
                "ProgImage": (self.own, lambda number: random.Random(number).choice(stored)(number))
            }
            for service in able:
                asking[service.name] = service, partial(_of_mix, service)
            self._interleaved("clients", f"mix, {clients} clients", asking, None, clients)

    def memory(self) -> None:
        """The most memory of all processes while 8 conversions of 12 MP are under way, each service freshly started."""
        for case in ("12 MP JPEG to 300 px JPEG", "12 MP JPEG to 1200 px WebP"):
            for make in (progimage, *CONVERTERS):
                try:
                    service = make(self.pictures, self.peers, self.work)
                except Absent:
                    continue
                request = service.convert(CONVERSIONS[case])
                if request:
                    row = Row("memory", f"8 clients, {case}", service.name)
                    same = _same(request)
                    row.loads.append(closed_loop(service.process, service.port, same, 8, 2 * self.seconds, memory=True))
                    self._add(row)
                service.process.terminate()
                service.process.wait()

    def fairness(self) -> None:
        """Small renditions while others ask for conversions of 100 MP all the time."""
        huge = Conversion("huge.jpg", "webp", 3000)
        for service in self.services:
            small, large = service.convert(SMALL), service.convert(huge)
            if small is None or large is None:
                continue
            alone = Row("fairness", "300 px JPEG alone, 2 clients", service.name)
            alone.loads.append(closed_loop(service.process, service.port, _same(small), 2, self.seconds))
            beside = Row("fairness", "300 px JPEG beside 4 clients with 100 MP", service.name)
            with _Background(service, large, clients=4) as others:
                beside.loads.append(closed_loop(service.process, service.port, _same(small), 2, 3 * self.seconds))
            beside.note = f"{others.answered} of 100 MP answered meanwhile"
            self._add(alone)
            self._add(beside)

    def steady(self) -> None:
        """Memory after many first conversions, on a freshly started service."""
        service = progimage(self.pictures, self.peers, self.work, "ProgImage-steady")
        makes = self._stored_requests(service, SMALL)
        done = 0
        while done < STEADY_REQUESTS:
            load = closed_loop(service.process, service.port, makes, 2 * CORES, 2 * self.seconds)
            done += load.count
            load.peak_memory = memory_of(service.process)
            row = Row("steady", f"after {done}", "ProgImage", [load])
            self._add(row)
        service.process.terminate()

    def start(self) -> None:
        """How long it takes from the command to the first answer; the first time there is a database to make."""
        for case in ("first start", "later start", "later start"):
            service = progimage(self.pictures, self.peers, self.work, "ProgImage-start")
            self._add(Row("start", case, "ProgImage", note=f"{service.start_seconds:.2f} s"))
            service.process.terminate()
            service.process.wait()

    # What they have in common.

    def _interleaved(
        self,
        group: str,
        case: str,
        asking: dict[str, Asking],
        wanted: Conversion | None,
        clients: int,
    ) -> None:
        rows = {}
        for name, (service, request) in asking.items():
            row = Row(group, case, name)
            if request is None:
                row.note = "it has no such conversion"
                self._add(row)
                continue
            if wanted:
                row.note, equivalent = self._judged(service, request, wanted)
                if not equivalent:
                    self._add(row)
                    continue
            rows[name] = row
        for number in range(self.rounds):
            order = list(rows)
            random.Random(number).shuffle(order)
            for name in order:
                service, request = asking[name]
                assert request
                makes = _same(request) if isinstance(request, Request) else request
                rows[name].loads.append(closed_loop(service.process, service.port, makes, clients, self.seconds))
        for row in rows.values():
            self._add(row)

    def _judged(
        self, service: Service, request: "Request | Callable[[int], Request]", wanted: Conversion
    ) -> tuple[str, bool]:
        status, _, body = ask(service.port, request(next(self._numbers)) if callable(request) else request)
        if status != 200:
            return f"{status} {body[:120].decode(errors='replace')}", False
        with Image.open(io.BytesIO(body)) as image, Image.open(self.pictures[wanted.source]) as original:
            size = original.size
            if wanted.width:
                size = wanted.width, round(original.height * wanted.width / original.width)
            format = {"jpg": "JPEG"}.get(wanted.extension, wanted.extension.upper())
            frames = getattr(original, "n_frames", 1)
            if (image.format, image.size, getattr(image, "n_frames", 1)) != (format, size, frames):
                return f"not the same: {image.format}, {image.size}, {getattr(image, 'n_frames', 1)} frames", False
            reference = original.convert("RGB").resize(size, Image.Resampling.LANCZOS)
            similarity = structural_similarity(
                numpy.asarray(reference.convert("L")),
                numpy.asarray(image.convert("L")),
                gaussian_weights=True,
                sigma=1.5,
            )
        return f"{len(body)} bytes, SSIM {similarity:.4f}", True

    def _stored_requests(self, service: Service, wanted: Conversion) -> Callable[[int], Request]:
        """Return what makes requests for a stored image, no two for the same rendition, and all of the same work."""
        reference = self._put(wanted.source, service)
        size = f"width={wanted.width}&" if wanted.width else ""

        def request(_: int) -> Request:
            # A background is not seen where nothing is transparent.
            return Request(f"/storage/{reference}.{wanted.extension}?{size}background={next(self._numbers):06x}")

        return request

    def _put(self, name: str, service: Service | None = None) -> str:
        service = service or self.own
        key = service.name, name
        if key not in self._stored:
            headers = {"content-type": "application/octet-stream"}
            request = Request("/storage/", "PUT", self.pictures[name].read_bytes(), headers)
            status, _, body = ask(service.port, request)
            if status != 200:
                raise RuntimeError(body.decode())
            self._stored[key] = body.decode()
        return self._stored[key]

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        shown = row.figures()
        print("  ".join(f"{k}={v:.4g}" if isinstance(v, float) else str(v) for k, v in shown.items()), flush=True)


class _Background:
    """Clients that ask for the same all the time."""

    def __init__(self, service: Service, request: Request, clients: int) -> None:
        self.answered = 0
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(service, request)) for _ in range(clients)]

    def _ask(self, service: Service, request: Request) -> None:
        while not self._stopped.is_set():
            self.answered += ask(service.port, request)[0] == 200

    def __enter__(self) -> "_Background":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def _processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _bare_load(rate: float) -> Load:
    return Load(seconds=1000, latencies=[CORES / rate], failures=[], cpu=1000 * CORES, count=round(1000 * rate))


def _same(request: Request) -> Callable[[int], Request]:
    return lambda _: request


def _of_mix(service: Service, number: int) -> Request:
    request = service.convert(random.Random(number).choice(MIX))
    assert request  # it has all of the mix
    return request


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ProgImage with its peers.")
    parser.add_argument("--only", nargs="*", choices=GROUPS, default=GROUPS)
    parser.add_argument("--case", default="", help="only the cases with this in their name")
    parser.add_argument("--seconds", type=float, default=4, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of each case; the services take turns")
    parser.add_argument("--peers", type=Path, default=Path("build/peers").absolute(), help="where the peers are")
    parser.add_argument(
        "--pictures", type=Path, default=Path("build/pictures").absolute(), help="where images are made"
    )
    parser.add_argument("--write", type=Path, help="a folder for benchmark.md, benchmark.json and benchmark.png")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        Path(work).chmod(0o755)  # nginx' processes run as somebody else
        comparison = Comparison(arguments, Path(work))
        try:
            comparison.start_services()
            for group in arguments.only:
                comparison.run(group)
        finally:
            comparison.stop_services()
    if arguments.write:
        write([row.figures() for row in comparison.rows], comparison.about(), arguments.write)


if __name__ == "__main__":
    main()
