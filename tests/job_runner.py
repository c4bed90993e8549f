"""A process that does jobs, for tests of the queue: each job writes a line into a file, and takes as long as it says.

python -m tests.job_runner URL FOLDER LEASE_SECONDS
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from progimage.jobs import JobQueue, JobRunner, RetryLater, Wakes
from progimage.storage import Database


async def work(arguments: dict[str, Any]) -> dict[str, Any]:
    with open(arguments["effect"], "a") as file:
        file.write(f"{os.getpid()}\n")
    await asyncio.sleep(arguments.get("seconds", 0))
    if arguments.get("later"):
        raise RetryLater({"detail": "not now"})
    with open(arguments["effect"], "a") as file:
        file.write("ended\n")
    return {"process": os.getpid()}


async def main(url: str, folder: Path, lease_seconds: float) -> None:
    queue, over = JobQueue(Database(url, 3), Wakes(folder / "wakes")), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    runner = JobRunner(queue, {"import": work, "scrub": work}, 2, lease_seconds)
    await runner.start()
    print("ready", flush=True)
    await over.wait()
    await runner.stop()
    queue.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])))
