"""Lists the system calls that workers make, to derive the allow-list of `progimage.workers.seccomp` from.

    python -m tests.syscalls

Every codec reads and writes, in real workers without the filter, under strace(1). What a worker does from its last
line of preparation on counts; each call is listed with how often, and with those of its arguments that tell.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from progimage.engine import FORMATS, EngineError, Limits, RenditionSpec, render
from progimage.workers import Requester, Sandbox, WorkerCrashed, WorkerPool, seccomp
from progimage.workers.tasks import (
    TASKS,
    InspectTask,
    InspectUploadTask,
    PaletteTask,
    PlaceholderTask,
    PyramidTask,
    RenderTask,
)
from tests import pictures

__all__ = ["TASKS", "main"]

_QUERIES = (
    "width=20", "width=200&enlarge=true&kernel=nearest", "rotate=15&background=red", "rotate=90&flip=true",
    "blur=5&sharpen=1&median=3&pixelate=4", "normalize=true&gamma=2&saturation=0.5&hue=40&sepia=1&tint=red",
    "crop=10,10,20,20&trim=10", "width=30&height=20&gravity=smart", "width=30&height=20&gravity=entropy",
    "text=Ünïcode+漢字+עברית+नमस्ते&text_font=serif-bold-italic", "radius=max&border=3&extend=5&extend_mode=mirror",
    "threshold=100", "negate=true&grayscale=true", "ops=width:40|rotate:30|blur:2",
)  # fmt: skip
_OUTPUTS = (
    "JPEG?quality=auto", "JPEG?max_bytes=2000", "JPEG?effort=9&progressive=true", "WEBP?lossless=true",
    "WEBP?quality=auto&effort=9", "AVIF?quality=auto", "AVIF?lossless=true", "AVIF?depth=10", "PNG?palette=16",
    "PNG?profile=p3", "JPEG?profile=srgb&keep=exif,icc,xmp", "HEIC?lossless=true", "JXL?lossless=true&effort=9",
    "TIFF?strip=true", "PNG?depth=16",
)  # fmt: skip
_CALL = re.compile(r"^(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. clone3? resumed>.* = (\d+)$")
_ARGUMENT = {
    "openat": 2, "open": 1, "mmap": 2, "mprotect": 2, "clone": None, "ioctl": 1, "fcntl": 1, "prctl": 0, "madvise": 2,
    "prlimit64": None, "futex": 1, "socket": None, "kill": None, "tgkill": None,
}  # fmt: skip


def corpus(folder: Path) -> Iterator[Path]:
    """Make a file of every kind of pixels and of every format that can be written, and some that are broken."""
    for number, (mode, make) in enumerate(pictures.BY_MODE.items()):
        path = folder / f"mode-{number}"
        path.write_bytes(make())
        yield path
        for format in FORMATS.values():
            if format.can_write:
                written = folder / f"{number}.{format.name}"
                try:
                    render(path, RenditionSpec(format.name), written, Limits())
                except EngineError:
                    continue
                if format.can_read and mode in ("RGB", "RGBA", "L", "1", "RGB16"):
                    yield written
    for name, data in (
        ("animation.gif", pictures.animation()), ("animation.webp", pictures.animation("WEBP")),
        ("animation.png", pictures.animation("PNG")), ("pages.tiff", pictures.pages()),
        ("turned.jpg", pictures.oriented(6)), ("profile.jpg", pictures.with_swapped_profile()),
        ("drawing.svg", pictures.SVG if isinstance(pictures.SVG, bytes) else pictures.SVG.encode()),
    ):  # fmt: skip
        (folder / name).write_bytes(data)
        yield folder / name
        (folder / f"cut-{name}").write_bytes(data[: len(data) // 2])
        yield folder / f"cut-{name}"
    for extension in ("jpg", "png", "webp", "tif"):
        large = folder / f"large.{extension}"
        pictures.detailed(3000, 2000).write_to_file(str(large))
        yield large


async def exercise(folder: Path) -> None:
    """Have workers do everything with everything."""
    root = Path(__file__).parents[1]
    os.environ["PYTHONPATH"] = f"{root / 'src'}:{root}"
    failed = []
    pool = WorkerPool(2, 10, 120, Sandbox(4 << 30, 6000, 1 << 30, (str(Path(__file__).parents[1]),)), "tests.syscalls")
    pool.start()
    limits, target, step = Limits(), folder / "target", folder / "step"
    number = 0

    async def attempt(task: object, inputs: list[Path], outputs: list[Path]) -> None:
        nonlocal number
        number += 1
        try:
            await pool.run(task, Requester("trace", frozenset((f"owner {number % 7}",))), inputs, outputs)  # type: ignore[arg-type]
        except (EngineError, MemoryError):
            pass
        except WorkerCrashed as error:
            failed.append(f"{task}: {error}")

    photo = folder / "large.jpg"
    files = list(corpus(folder))
    for path in files:
        await attempt(InspectUploadTask(limits, (1024, 512)), [path], [target, step])
        await attempt(InspectTask(limits), [path], [])
        await attempt(PlaceholderTask(limits), [path], [])
        await attempt(PaletteTask(limits, 8), [path], [])
        for format in ("PNG", "JPEG", "WEBP", "GIF"):
            await attempt(RenderTask(RenditionSpec(format, width=30).canonical(), limits), [path], [target])
    for path in (photo, folder / "mode-0", folder / "animation.gif", folder / "pages.tiff"):
        for one in FORMATS.values():
            if one.can_write:
                await attempt(RenderTask(one.name, limits), [path], [target])
    for query in _QUERIES:
        await attempt(RenderTask(RenditionSpec.from_canonical(f"PNG?{query}").canonical(), limits), [photo], [target])
    for output in _OUTPUTS:
        await attempt(RenderTask(RenditionSpec.from_canonical(output).canonical(), limits), [photo], [target])
    await attempt(PyramidTask(False, limits), [photo], [step])
    part = RenditionSpec.from_canonical("JPEG?crop=512,512,512,512").canonical()
    await attempt(RenderTask(part, limits, pyramid=True), [step], [target])
    reference = "7d0a2c1e-4b7f-4f0e-9a53-1c6b8e2d5f90"
    marked = RenditionSpec("PNG", width=200, watermark=reference, mask=reference).canonical()
    await attempt(RenderTask(marked, limits, (reference,)), [photo, folder / "mode-0"], [target])
    await attempt(RenderTask("PNG", Limits(memory=1)), [photo], [target])
    await pool.close()
    if failed:
        sys.exit("\n".join(["What fails tells nothing:", *failed]))


def listed(trace: Path) -> dict[str, Counter[str]]:
    """Return what the workers called: how often each call, with the arguments that tell."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    sandboxed: set[str] = set()
    for line in trace.read_text(errors="replace").splitlines():
        resumed = _RESUMED.match(line)
        if resumed and resumed[1] in sandboxed:
            sandboxed.add(resumed[2])  # a thread, whose parent was interrupted while it made it
        match = _CALL.match(line)
        if not match:
            continue
        pid, name, rest = match.groups()
        if name == "landlock_restrict_self":
            sandboxed.add(pid)
            continue
        if pid not in sandboxed:
            continue
        if name in ("clone", "clone3") and "= " in rest:
            sandboxed.add(rest.rpartition("= ")[2].split()[0])
        position = _ARGUMENT.get(name, -1)
        told = "" if position == -1 else rest if position is None else rest.split(", ")[position]
        found[name][re.sub(r"0x[0-9a-f]{6,}|\b\d{3,}\b", "…", told)[:120]] += 1
    return found


def main() -> None:
    """Trace, and print."""
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            asyncio.run(exercise(Path(sys.argv[1])))
            return
        trace = Path(folder) / "trace"
        command = [sys.executable, "-m", "tests.syscalls", folder]
        subprocess.run(["strace", "-f", "-qq", "-e", "signal=none", "-o", trace, *command], check=True)
        for name, arguments in sorted(listed(trace).items()):
            known = "" if name in seccomp.ALLOWED or name in seccomp.UNKNOWN else "   NOT ALLOWED"
            print(f"{name:24} {sum(arguments.values()):8}{known}")
            for told, count in arguments.most_common(8):
                if told:
                    print(f"    {count:8} {told}")


if __name__ == "__main__":
    main()
else:
    # A fork server that has these tasks is one that is traced: its workers have no filter.
    seccomp.install = lambda: None
