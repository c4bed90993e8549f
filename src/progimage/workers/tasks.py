"""What runs inside a worker. The pool's fork server imports this module once, and every worker begins as its copy."""

import gc
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("VIPS_CONCURRENCY", "1")  # one worker a core; libvips reads it when it starts

import progimage.engine  # noqa: F401  (every codec is loaded before the sandbox closes)
from progimage.workers.sandbox import Sandbox

_sandbox: Sandbox | None = None


def start_worker(sandbox: Sandbox) -> None:
    """Prepare a new worker process."""
    global _sandbox
    # Codecs print what they think of an image; a hostile one could fill the log that way.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sandbox.enter()
    _sandbox = sandbox


def run_task(function: Callable[..., Any], *args: Any) -> tuple[Any, float, float]:
    """Run one task within its share of CPU time.

    Returns:
        Its result, and when it began and ended, in seconds since 1970.
    """
    began = time.time()
    if _sandbox is not None:
        _sandbox.begin_task()
    try:
        return function(*args), began, time.time()
    except MemoryError as error:
        # Anew, since the old one's traceback holds all that had been allocated; the worker lives on.
        message = str(error)
    gc.collect()
    raise MemoryError(message)
