"""The command line, where it refuses to start."""

import os
import subprocess
from pathlib import Path

from tests.integration.server import PROGIMAGE, Server


def refusal(*arguments: str, **settings: str) -> str:
    environment = os.environ | {f"PROGIMAGE_{name.upper()}": value for name, value in settings.items()}
    done = subprocess.run([PROGIMAGE, "serve", *arguments], capture_output=True, text=True, timeout=30, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr


def test_serve_refuses_what_it_cannot_use(server: Server, tmp_path: Path) -> None:
    assert f"port {server.port}" in refusal("--port", str(server.port), "--data-dir", str(tmp_path))
    assert "PROGIMAGE_WORKERS" in refusal("--workers", "0")
    assert "data folder" in refusal("--port", "0", "--data-dir", "/proc/nowhere")
    own = ("--port", "0", "--data-dir", str(tmp_path))
    assert "PROGIMAGE_BLOBS_URL" in refusal(*own, blobs_url="ftp://images")
    assert "bogus" in refusal(*own, blobs_url="s3://images", blobs_options='{"bogus": "x"}')
    assert "send_originals" in refusal(*own, send_originals="redirect")
    gone = "postgresql+psycopg://postgres@127.0.0.1:9/nothing"
    assert "database can't be used" in refusal(*own, database_url=gone)


def test_formats_are_listed() -> None:
    text = subprocess.run([PROGIMAGE, "formats"], capture_output=True, text=True, check=True).stdout
    assert "PNG      rw" in text and "SVG      r-" in text
