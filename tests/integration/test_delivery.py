"""Delivery as HTTP means it."""

from pathlib import Path

import pytest

from tests import pictures
from tests.integration.server import Server, serving

PHOTO = pictures.saved(pictures.colour((320, 240)), "JPEG", quality=90)


@pytest.fixture(scope="module")
def reference(server: Server) -> str:
    return server.put(PHOTO, "naïve “photo”.jpg")


@pytest.mark.parametrize("suffix", ["", ".webp"])
class TestOriginalsAndRenditions:
    def test_conditional(self, server: Server, reference: str, suffix: str) -> None:
        path = f"{reference}{suffix}"
        first = server.get(path)
        etag = first.headers["etag"]
        assert etag.startswith('"') and "immutable" in first.headers["cache-control"]
        assert first.headers["x-content-type-options"] == "nosniff"
        for value in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            answer = server.get(path, headers={"if-none-match": value})
            assert answer.status_code == 304 and not answer.content and answer.headers["etag"] == etag
        assert server.get(path, headers={"if-none-match": '"other"'}).status_code == 200
        modified = first.headers["last-modified"]
        assert server.get(path, headers={"if-modified-since": modified}).status_code == 304
        assert server.get(path, headers={"if-modified-since": "Mon, 01 Jan 2001 00:00:00 GMT"}).status_code == 200
        assert server.get(path, headers={"if-modified-since": "nonsense"}).status_code == 200
        assert server.get(path, headers={"if-match": '"other"'}).status_code == 412
        assert server.get(path, headers={"if-match": etag}).status_code == 200

    def test_head(self, server: Server, reference: str, suffix: str) -> None:
        got, head = server.get(f"{reference}{suffix}"), server.client.head(f"/storage/{reference}{suffix}")
        assert head.status_code == 200 and not head.content
        for name in ("content-length", "content-type", "etag", "last-modified", "cache-control", "accept-ranges"):
            assert head.headers[name] == got.headers[name]

    def test_ranges(self, server: Server, reference: str, suffix: str) -> None:
        path = f"{reference}{suffix}"
        whole = server.get(path)
        data, etag = whole.content, whole.headers["etag"]
        size = len(data)
        for header, wanted in (
            ("bytes=0-9", data[:10]),
            ("bytes=5-", data[5:]),
            ("bytes=-7", data[-7:]),
            (f"bytes={size - 1}-{size + 99}", data[-1:]),
            (f"bytes=-{size + 5}", data),
        ):
            answer = server.get(path, headers={"range": header})
            assert answer.status_code == 206 and answer.content == wanted
            start = data.index(wanted) if len(wanted) < 10 else size - len(wanted) if header != "bytes=0-9" else 0
            assert answer.headers["content-range"].endswith(f"/{size}")
            assert int(answer.headers["content-length"]) == len(wanted) and start >= 0
        for header in (f"bytes={size}-", "bytes=-0"):
            answer = server.get(path, headers={"range": header})
            assert answer.status_code == 416 and answer.headers["content-range"] == f"bytes */{size}"
        for header in ("bytes=9-3", "bytes=x", "lines=1-2", "bytes=0-1,4-5"):
            assert server.get(path, headers={"range": header}).status_code == 200
        assert server.get(path, headers={"range": "bytes=0-9", "if-range": etag}).status_code == 206
        assert server.get(path, headers={"range": "bytes=0-9", "if-range": '"old"'}).content == data
        dated = {"range": "bytes=0-9", "if-range": whole.headers["last-modified"]}
        assert server.get(path, headers=dated).status_code == 206


def test_download_names(server: Server, reference: str) -> None:
    assert "content-disposition" not in server.get(reference).headers
    original = server.get(f"{reference}?download").headers["content-disposition"]
    assert original.startswith("attachment") and "filename*=UTF-8''na%C3%AFve%20%E2%80%9Cphoto%E2%80%9D.jpg" in original
    assert (
        "na%C3%AFve%20%E2%80%9Cphoto%E2%80%9D.webp"
        in server.get(f"{reference}.webp?download").headers["content-disposition"]
    )
    named = server.get(f"{reference}.webp?download=../../etc/x%0d%0ay.webp").headers["content-disposition"]
    assert named == 'attachment; filename="xy.webp"'
    unnamed = server.client.put("/storage/", content=PHOTO).text
    assert f'filename="{unnamed}.jpg"' in server.get(f"{unnamed}?download").headers["content-disposition"]


def test_the_same_format_is_the_original_itself(server: Server, reference: str) -> None:
    for extension in ("jpg", "jpeg", "JPG", "jfif"):
        assert server.get(f"{reference}.{extension}").content == PHOTO


def test_svg_cannot_run_scripts(server: Server) -> None:
    answer = server.get(server.put(pictures.SVG))
    assert answer.content == pictures.SVG and answer.headers["content-type"] == "image/svg+xml"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_etag_does_not_depend_on_the_reference_and_differs_by_format(server: Server, reference: str) -> None:
    other = server.put(PHOTO)
    assert server.get(f"{reference}.png").headers["etag"] == server.get(f"{other}.png").headers["etag"]
    assert len({server.get(f"{reference}{s}").headers["etag"] for s in ("", ".png", ".webp", ".png?page=1")}) == 4


def test_a_store_without_files_delivers_the_same(tmp_path: Path) -> None:
    with serving(tmp_path / "data", blobs_url="memory://", orphan_grace_seconds=1, sweep_seconds=1) as server:
        reference = server.put(PHOTO)
        assert server.get(reference).content == PHOTO
        assert server.get(reference, headers={"range": "bytes=10-19"}).content == PHOTO[10:20]
        assert server.get(f"{reference}.png").status_code == 200
        assert server.client.delete(f"/storage/{reference}").status_code == 204
        assert not list((tmp_path / "data" / "spool").glob("*/*/*"))
