"""Do the tests notice? Puts a mistake into a module, runs its unit tests, and counts those that nobody notices.

    python -m tests.mutants --seed 1 --count 400 --minutes 55

Of all mistakes that `mutations` can make in the modules of `modules`, a sample is taken by chance, the same for the
same seed. Each is put into a copy of the package, which comes before the real one on the path of a child process; the
work tree stays as it is. This process has loaded the libraries, and nothing of ours, so that a child begins in no time.

It fails if fewer than 90 % are noticed of those that make a difference: explained.txt lists those that make none.
"""

import argparse
import gc
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from PIL import Image

from tests.mutants.modules import MODULES
from tests.mutants.mutations import Mutation, mutations

ROOT = Path(__file__).parents[2]
PACKAGE, TESTS = ROOT / "src" / "progimage", ROOT / "tests" / "unit"
EXPLAINED = Path(__file__).with_name("explained.txt")
_ENOUGH = 0.9
_LIBRARIES = (
    "_hypothesis_pytestplugin", "_pytest.junitxml", "alembic", "blurhash", "cachetools", "cssselect2", "dhash", "h11",
    "httpcore", "httpx", "hypothesis", "idna", "imagecodecs", "limits.aio", "limits.storage", "litestar",
    "litestar.openapi.config", "msgspec", "numpy", "obstore", "OpenEXR", "opentelemetry.sdk.trace", "PIL.Image",
    "pillow_heif", "pillow_jxl", "prometheus_client", "psycopg", "pydantic_settings", "pytest", "pytest_timeout",
    "pyvips", "rawpy", "resvg_py", "rich", "sqlalchemy.orm", "structlog", "thumbhash", "tinycss2",
)  # fmt: skip
_MEMORY, _FILE = 12 << 30, 1 << 30
"""The most bytes of addresses, and of a file, that a child may have: a mistake could ask for any number."""


class Runner:
    """Runs unit tests in child processes, against a copy of the package.

    Args:
        folder: An empty one, for the copy and for what tests write.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._folder = folder / "path", folder
        shutil.copytree(PACKAGE, self._path / "progimage", ignore=shutil.ignore_patterns("__pycache__"))
        self._seconds: dict[tuple[str, ...], float] = {}
        os.environ |= {
            "PYTHONPATH": str(self._path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "h"),
            "TMPDIR": str(folder),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        tempfile.tempdir = None
        sys.path.insert(0, str(self._path))

    def notices(self, mutation: Mutation, files: tuple[str, ...]) -> bool:
        """Return whether a test fails because of a mutation.

        Raises:
            RuntimeError: One fails without it.
        """
        if not files:
            return False
        if files not in self._seconds:
            self._run(files, 600)  # which also compiles what is imported
            started = time.monotonic()
            if not self._run(files, 600):
                output = (self._folder / "output").read_text()
                raise RuntimeError(f"{', '.join(files)} fail without any mutation:\n{output}")
            self._seconds[files] = time.monotonic() - started
        target = self._path / "progimage" / mutation.module
        original = target.read_text()
        target.write_text(mutation.text())
        try:
            return not self._run(files, 20 + 4 * self._seconds[files], bytecode=False)
        finally:
            target.write_text(original)

    def _run(self, files: tuple[str, ...], seconds: float, *, bytecode: bool = True) -> bool:
        """Return whether tests pass, in time."""
        pid = os.fork()
        if not pid:
            os._exit(self._child(files, bytecode=bytecode))
        descriptor = os.pidfd_open(pid)
        ended, _, _ = select.select([descriptor], [], [], seconds)
        os.close(descriptor)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # it, if it is late, and what it has started
        _, status = os.waitpid(pid, 0)
        shutil.rmtree(self._folder / "tests", ignore_errors=True)
        return bool(ended) and status == 0

    def _child(self, files: tuple[str, ...], *, bytecode: bool) -> int:
        os.setsid()
        output = os.open(self._folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.chdir(ROOT)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE, _FILE))
        import pytest

        sys.dont_write_bytecode = not bytecode
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"]
        options += ["--basetemp", str(self._folder / "tests"), "-m", "not alone and not endurance"]
        options += ["--hypothesis-seed", "1", "--timeout", "0"]
        return int(pytest.main([*options, *(str(TESTS / name) for name in files)]))


def _files(module: str) -> tuple[str, ...]:
    return tuple(path.name for pattern in MODULES[module] for path in sorted(TESTS.glob(pattern)))


def _explained() -> dict[str, str]:
    """Return the reasons why some mutations make no difference, by their names."""
    reasons: dict[str, str] = {}
    name = ""
    for line in EXPLAINED.read_text().splitlines():
        if line.startswith("    ") and name:
            reasons[name] = f"{reasons[name]} {line.strip()}".strip()
        elif line.strip() and not line.startswith("#"):
            name = line.strip()
            reasons[name] = ""
    unexplained = [name for name, reason in reasons.items() if not reason]
    if unexplained:
        raise ValueError(f"{EXPLAINED.name} has no reason for {unexplained[0]}")
    return reasons


def _sample(seed: int, count: int, modules: Iterable[str]) -> tuple[list[Mutation], int, set[str]]:
    """Return some mutations by chance, how many there are, and the names of all."""
    every = [one for module in modules for one in mutations(module, (PACKAGE / module).read_text())]
    order = random.Random(seed).sample(every, len(every))
    return order[:count], len(every), {one.name for one in every}


def main() -> int:
    """Try a sample, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=400, help="how many to try")
    parser.add_argument("--minutes", type=float, default=55, help="when to stop, however many are left")
    parser.add_argument("modules", nargs="*", help="such as engine/cost.py; all if none is named")
    given = parser.parse_args()
    modules = given.modules or sorted(MODULES)
    sample, count, names = _sample(given.seed, given.count, modules)
    explained = _explained()
    for name in explained:
        if name not in names and name.partition(" ")[0].rstrip(":") in modules:
            print(f"no longer there: {name}", flush=True)
    for library in _LIBRARIES:
        try:
            import_module(library)
        except ImportError:
            print(f"not loaded beforehand: {library}", flush=True)
    Image.init()  # which loads what knows each format
    gc.freeze()
    started = time.monotonic()
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        runner = Runner(Path(folder))
        for mutation in sample:
            if time.monotonic() - started > given.minutes * 60:
                print("the time is over", flush=True)
                break
            if mutation.name in explained:
                outcome = "explained"
            else:
                outcome = "noticed" if runner.notices(mutation, _files(mutation.module)) else "unnoticed"
            outcomes[mutation.module][outcome] += 1
            if outcome != "noticed":
                print(f"{outcome}, line {mutation.line}: {mutation.name}", flush=True)
            if (tried := sum(map(Counter.total, outcomes.values()))) % 100 == 0:
                print(f"{tried} tried in {(time.monotonic() - started) / 60:.0f} minutes", flush=True)
    return _told(outcomes, count, time.monotonic() - started)


def _told(outcomes: dict[str, Counter[str]], count: int, seconds: float) -> int:
    print()
    for module, found in sorted(outcomes.items()):
        print(
            f"{module}: {found['noticed']} noticed, {found['unnoticed']} not, {found['explained']} make no difference"
        )
    total = sum(outcomes.values(), Counter())
    different = total["noticed"] + total["unnoticed"]
    share = total["noticed"] / different if different else 1.0
    print(f"{total.total()} of {count} mutations in {seconds / 60:.0f} minutes.")
    print(f"{total['noticed']} of {different} that make a difference are noticed: {share:.1%}")
    return share < _ENOUGH


if __name__ == "__main__":
    sys.exit(main())
