"""Fuzzes the engine for some time, then sends everything that was found interesting to a real server.

    python -m tests.fuzz --seconds 120

The corpus grows in build/fuzz/corpus and is kept between runs. A native crash or a hang costs one worker in the
service; it is kept in build/fuzz/artifacts, counted, and fuzzing goes on. An exception that the engine should not raise
is a bug, and so is anything that the server answers but with 200, 400, 413 or 422: both end this with 1.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests import abuse
from tests.integration.server import serving

BUILD = Path("build/fuzz")
COUNTS = ("tried", "taken", "refused", "rendered")
_LARGEST_SEED = 100_000
_ONE_INPUT_SECONDS = 20
_MEMORY_MEBIBYTES = 3000


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=120)
    options = parser.parse_args()
    corpus, artifacts, scratch = (BUILD / name for name in ("corpus", "artifacts", "scratch"))
    for folder in (corpus, artifacts, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    seed(corpus)
    report = {"seconds": options.seconds, **fuzz(corpus, artifacts, scratch, options.seconds)}
    report |= replay([*corpus.iterdir(), *artifacts.iterdir()])
    print(json.dumps(report, indent=1))
    return 1 if report["exceptions"] or report["server deaths"] or report["other answers"] else 0


def seed(corpus: Path) -> None:
    """Begin with one small image of each format, and with the small ones of the hostile images."""
    for name, data in (*abuse.seeds().items(), *abuse.BOMBS.items(), *abuse.SVGS.items()):
        if len(data) < _LARGEST_SEED:
            (corpus / name.replace(" ", "-").replace("/", "-")).write_bytes(data)


def fuzz(corpus: Path, artifacts: Path, scratch: Path, seconds: int) -> dict[str, int]:
    counts = scratch / "counts"
    counts.write_bytes(bytes(8 * len(COUNTS)))
    found: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while (left := int(end - time.monotonic())) > 5:
        command = [
            sys.executable, "-m", "tests.fuzz.target", str(corpus), f"-max_total_time={left}",
            f"-timeout={_ONE_INPUT_SECONDS}", f"-rss_limit_mb={_MEMORY_MEBIBYTES}", f"-artifact_prefix={artifacts}/",
            "-max_len=20000", "-verbosity=0",
        ]  # fmt: skip
        environment = {**os.environ, "FUZZ_FOLDER": str(scratch.absolute()), "VIPS_CONCURRENCY": "1"}
        with (scratch / "log").open("wb") as log:
            code = subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=left + 120).returncode
        if code:
            found[_cause((scratch / "log").read_text(errors="replace"))] += 1
    numbers = dict(zip(COUNTS, struct.unpack(f"<{len(COUNTS)}Q", counts.read_bytes()), strict=True))
    deaths = ("crashes", "hangs", "out of memory", "exceptions")
    return {**numbers, **{name: found[name] for name in deaths}, "corpus": len(list(corpus.iterdir()))}


def _cause(log: str) -> str:
    """Say what ended the fuzzer, and show an exception, which is a bug."""
    if "Uncaught Python exception" in log:
        print(log[-3000:], file=sys.stderr)
        return "exceptions"
    if "timeout after" in log:
        return "hangs"
    return "out of memory" if "out-of-memory" in log else "crashes"


def replay(files: list[Path]) -> dict[str, int]:
    """Send files to a real server, several at once."""
    answers: Counter[int] = Counter()
    folder = BUILD / "server" / str(time.time_ns())
    folder.mkdir(parents=True)
    with serving(folder.absolute() / "data", queue=500) as server:
        with httpx.Client(base_url=server.url, timeout=120) as client, ThreadPoolExecutor(8) as clients:

            def put(file: Path) -> int:
                answer = client.put("/storage/", content=file.read_bytes() or b"-")
                if answer.status_code == 200:
                    rendered = client.get(f"/storage/{answer.text}.webp?width=20").status_code
                    return 200 if rendered in (200, 400, 413, 422) else rendered
                return answer.status_code

            answers.update(clients.map(put, files))
            lines = client.get("/metrics").text.splitlines()
        died = server.process.poll() is not None
        workers = sum(float(line.split()[-1]) for line in lines if line.startswith("progimage_worker_deaths_total"))
    expected = sum(answers[status] for status in (200, 400, 413, 422))
    return {
        "sent to a server": len(files),
        "stored": answers[200],
        "refused by it": expected - answers[200],
        "other answers": len(files) - expected,
        "worker deaths": int(workers),
        "server deaths": int(died),
    }


if __name__ == "__main__":
    sys.exit(main())
