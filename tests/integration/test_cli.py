"""The command line."""

import io
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import pictures
from tests.integration.server import PROGIMAGE, Server

PNG = pictures.saved(pictures.colour(), "PNG")


def run(
    *arguments: object, server: Server | None = None, stdin: bytes = b"", **more: str
) -> subprocess.CompletedProcess:
    environment = os.environ | ({"PROGIMAGE_URL": server.url} if server else {}) | more
    command = [PROGIMAGE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, env=environment, input=stdin)


def said(*arguments: object, **options: Any) -> str:
    done = run(*arguments, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def photo(seed: int) -> bytes:
    return pictures.saved(pictures.colour((60 + seed, 40)), "JPEG")


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
    assert "database is unavailable" in refusal(*own, database_url=gone)


def test_formats_are_listed() -> None:
    text = subprocess.run([PROGIMAGE, "formats"], capture_output=True, text=True, check=True).stdout
    assert "PNG      rw" in text and "SVG      r-" in text


def test_formats_as_json() -> None:
    rows = [json.loads(line) for line in said("formats", "--json").splitlines()]
    assert {"name", "extensions", "can_write"} <= rows[0].keys() and len(rows) > 40


def test_put_and_get(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(PNG)
    reference = said("put", path, "--again", "--label", "cli", "--metadata", "shelf=7", server=server)
    assert server.get(reference).content == PNG
    assert server.client.get(f"/storage/{reference}/info").json()["metadata"] == {"shelf": "7"}
    assert said("put", path, server=server) != "" and said("put", "-", stdin=PNG, server=server)
    got = said("get", reference, "-o", tmp_path / "small.webp", "width=20", "flip", server=server)
    assert got == str(tmp_path / "small.webp") and Image.open(got).size == (20, 15)
    assert Path(said("get", reference, "-o", tmp_path / "copy.png", server=server)).read_bytes() == PNG
    assert Image.open(said("get", reference, "-o", tmp_path / "copy.bmp", server=server)).format == "BMP"
    piped = run("get", reference, "-o", "-", "--format", "gif", server=server).stdout
    assert Image.open(io.BytesIO(piped)).format == "GIF"
    wrong = run("get", reference, "-o", tmp_path / "no.png", "width=0", server=server)
    assert wrong.returncode == 1 and b"width" in wrong.stderr and b"1 to 65535" in wrong.stderr
    assert not (tmp_path / "no.png").exists()


def test_a_folder_is_put_once(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number in range(4):
        (folder / "deep" / f"{number}.jpg").write_bytes(photo(number))
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden" / "5.jpg").write_bytes(photo(5))
    (folder / "broken.png").write_bytes(PNG[:100])
    first = run("put", folder, "--json", server=server)
    assert first.returncode == 1 and b"4 uploaded, 0 already stored, 1 failed" in first.stderr
    assert b"broken.png" in first.stderr
    assert {json.loads(line)["source"] for line in first.stdout.splitlines()} == {
        str(folder / "deep" / f"{number}.jpg") for number in range(4)
    }
    (folder / "deep" / "new.jpg").write_bytes(photo(9))
    again = run("put", folder, server=server)
    assert b"1 uploaded, 4 already stored, 1 failed" in again.stderr
    assert len(again.stdout.splitlines()) == 5


def test_info_list_and_rm(server: Server, tmp_path: Path) -> None:
    reference = said("put", "-", "--label", "to-go", stdin=photo(30), server=server)
    told = said("info", reference, server=server)
    assert "JPEG" in told and "90" in told and "to-go" in told
    assert json.loads(said("info", reference, "--json", server=server))["reference"] == reference
    table = said("list", "--label", "to-go", server=server).splitlines()
    assert table[0].split()[0] == "reference" and table[1].startswith(reference) and "90x40" in table[1]
    listed = [json.loads(line) for line in said("list", "--label", "to-go", "--json", server=server).splitlines()]
    assert [image["reference"] for image in listed] == [reference]
    assert said("rm", reference, server=server) == ""
    assert server.get(reference).status_code == 404
    assert run("rm", reference, server=server).returncode == 1
    path = tmp_path / "local.jpg"
    path.write_bytes(photo(31))
    assert json.loads(said("info", path, "--json"))["width"] == 91
    assert "▀" in said("info", path, "--picture")


def test_a_picture_is_shown_on_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "local.png"
    path.write_bytes(PNG)
    ours, theirs = pty.openpty()
    process = subprocess.Popen([PROGIMAGE, "info", path], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:
            break
    assert process.wait() == 0 and "▀".encode() in shown and b"38;2;230;30;30" in shown
    os.close(ours)


def test_transform_without_a_service(tmp_path: Path) -> None:
    source, target, mark = tmp_path / "a.png", tmp_path / "b.webp", tmp_path / "mark.png"
    source.write_bytes(PNG)
    mark.write_bytes(pictures.saved(Image.new("RGB", (8, 8), (0, 0, 255)), "PNG"))
    said("transform", source, target, "width=20", "fit=inside")
    assert Image.open(target).format == "WEBP" and Image.open(target).size == (20, 15)
    said("transform", source, tmp_path / "marked.png", f"watermark={mark}", "watermark_gravity=southeast")
    assert Image.open(tmp_path / "marked.png").convert("RGB").getpixel((63, 47)) == (0, 0, 255)
    piped = run("transform", "-", "-", "--format", "png", "rotate=90", stdin=PNG).stdout
    assert Image.open(io.BytesIO(piped)).size == (48, 64)
    assert run("transform", source, tmp_path / "c.psd").returncode == 2
    wrong = run("transform", source, target, "width=-1")
    assert wrong.returncode == 1 and b"width" in wrong.stderr


def test_bench(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo(0))
    rows = [json.loads(line) for line in said("bench", path, "--json").splitlines()]
    assert rows[0]["what"] == "upload" and all(row["milliseconds"] > 0 and row["bytes"] > 0 for row in rows)


def test_a_service_that_is_not_there() -> None:
    done = run("list", PROGIMAGE_URL="http://127.0.0.1:9")
    assert done.returncode == 1 and b"can't be reached" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert "_PROGIMAGE_COMPLETE" in said("completion", shell)


def test_completion_knows_the_commands() -> None:
    found = said(_PROGIMAGE_COMPLETE="bash_complete", COMP_WORDS="progimage tr", COMP_CWORD="1")
    assert "transform" in found
