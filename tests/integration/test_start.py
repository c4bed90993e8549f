"""What the service settles before it serves: its settings, its port, its folder, its limits."""

import json
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from progimage.open_files import needed_files
from progimage.settings import Settings
from tests import pictures
from tests.integration.server import PROGIMAGE, serving

PNG = pictures.BY_MODE["RGB"]()
ADDRESS = re.compile(r"is listening on (http://\S+)/")
KUBERNETES = {
    "PROGIMAGE_PORT": "tcp://10.0.0.11:80",
    "PROGIMAGE_SERVICE_HOST": "10.0.0.11",
    "PROGIMAGE_PORT_80_TCP": "x",
}


@contextmanager
def started(data_dir: Path, *options: str, limit: str = "", **variables: str) -> Iterator[str]:
    """The address of a service that says it itself."""
    command = ["bash", "-c", f'{limit} exec "$@"', "bash", PROGIMAGE, "serve", "--data-dir", str(data_dir), *options]
    process = subprocess.Popen(
        command, env=os.environ | variables, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        address = ADDRESS.search(process.stderr.readline()) if process.stderr else None
        assert address
        url = address[1]
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def refusal(*options: object, limit: str = "", **variables: str) -> str:
    """What the service says when it does not start."""
    command = ["bash", "-c", f'{limit} exec "$@"', "bash", PROGIMAGE, *map(str, options)]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_port_0_is_a_free_one_and_the_start_says_which(data_dir: Path) -> None:
    with started(data_dir, "--port", "0", PROGIMAGE_HTTP_PROCESSES="2") as url:
        assert not url.endswith(":0")
        reference = httpx.put(f"{url}/storage/", content=PNG).text
        for _ in range(20):  # both processes listen there
            assert httpx.get(f"{url}/storage/{reference}").content == PNG
    with started(data_dir, PROGIMAGE_PORT="0") as other:
        assert httpx.get(f"{other}/storage/{reference}").content == PNG


def test_a_misspelt_setting_stops_the_start(data_dir: Path) -> None:
    for command in (("serve", "--port", "0", "--data-dir", data_dir), ("doctor",), ("keys", "list")):
        said = refusal(*command, PROGIMAGE_ACCES="keys")
        assert "PROGIMAGE_ACCES is not a setting; did you mean PROGIMAGE_ACCESS?" in said
        assert len(said.strip().splitlines()) == 2
    assert not data_dir.exists()


def test_what_kubernetes_and_the_client_set_does_not_stop_the_start(data_dir: Path) -> None:
    more = KUBERNETES | {"PROGIMAGE_URL": "http://x", "PROGIMAGE_KEY": "x", "_PROGIMAGE_COMPLETE": ""}
    with started(data_dir, "--port", "0", **more) as url:
        assert httpx.put(f"{url}/storage/", content=PNG).status_code == 200


def test_nobody_else_can_enter_the_data_folder(data_dir: Path) -> None:
    with serving(data_dir) as server:
        server.put(PNG)
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert "other users have access" not in server.command("doctor")
        # One that was opened on purpose, for nginx or a backup, is left as it is; the doctor says so.
        data_dir.chmod(0o755)
    with serving(data_dir) as server:
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o755
        said = server.command("doctor", "--json").splitlines()
        (folder,) = [one for one in map(json.loads, said) if one["what"] == "data folder"]
        assert folder["verdict"] == "warning" and "other users have access: run `chmod 700" in folder["detail"]


def test_the_command_line_makes_the_data_folder_likewise(data_dir: Path) -> None:
    command = [PROGIMAGE, "keys", "create", "--owner", "shop"]
    subprocess.run(command, env=os.environ | {"PROGIMAGE_DATA_DIR": str(data_dir)}, check=True, capture_output=True)
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


def test_too_few_open_files_are_said_at_the_start(data_dir: Path) -> None:
    needed = needed_files(Settings(workers=4, queue=10))
    own = ("serve", "--port", "0", "--data-dir", data_dir, "--workers", "4")
    for limit in (64, needed - 1):
        said = refusal(*own, limit=f"ulimit -n {limit};", PROGIMAGE_QUEUE="10")
        assert len(said.strip().splitlines()) == 1 and not data_dir.exists()
        assert f"(RLIMIT_NOFILE) is {limit}" in said and f"ulimit -n {needed}" in said


@pytest.mark.parametrize("limit", ["ulimit -Sn 64;", "ulimit -n {needed};"])
def test_as_many_open_files_as_are_needed_suffice(data_dir: Path, limit: str) -> None:
    """With the soft limit raised, or the hard one at what is needed, a full queue is answered."""
    needed = needed_files(Settings(workers=2, queue=64))
    with started(data_dir, "--port", "0", "--workers", "2", limit=limit.format(needed=needed)) as url:
        files = [pictures.saved(pictures.colour((300 + number, 200)), "PNG") for number in range(64)]

        def work(data: bytes) -> list[int]:
            with httpx.Client(base_url=url, timeout=120, verify=False) as client:
                stored = client.put("/storage/", content=data)
                shown = client.get(f"/storage/{stored.text}.webp?width=50")
                return [stored.status_code, shown.status_code]

        with ThreadPoolExecutor(64) as clients:
            for statuses in clients.map(work, files):
                assert set(statuses) <= {200, 503}, statuses
        assert httpx.put(f"{url}/storage/", content=PNG).status_code == 200


def test_the_doctor_tells_of_proxies_and_limits(data_dir: Path) -> None:
    def findings(limit: str = "", **variables: str) -> dict[str, tuple[str, str]]:
        environment = os.environ | {"PROGIMAGE_DATA_DIR": str(data_dir)} | variables
        command = ["bash", "-c", f'{limit} exec "$@"', "bash", PROGIMAGE, "doctor", "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        return {one["what"]: (one["verdict"], one["detail"]) for one in map(json.loads, done.stdout.splitlines())}

    verdict, detail = findings()["access"]
    assert verdict == "ok" and "forwarded by a proxy are rejected until PROGIMAGE_ACCESS is set" in detail
    proxies = {"PROGIMAGE_TRUSTED_PROXIES": '["127.0.0.1"]'}
    verdict, detail = findings(**proxies)["access"]
    assert verdict == "error" and "PROGIMAGE_ACCESS is not" in detail
    assert findings(**proxies, PROGIMAGE_ACCESS="open")["access"][0] == "warning"
    verdict, detail = findings("ulimit -n 300;")["open files"]
    assert verdict == "error" and "RLIMIT_NOFILE" in detail
