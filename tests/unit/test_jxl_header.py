"""JPEG XL: its header, its frames and its pixels, held against other encoders and decoders."""

import io
import os
import random
import re
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

import progimage.engine.source  # noqa: F401
from progimage.engine.codecs.jxl import decode as decoding
from progimage.engine.codecs.jxl.decode import jxl_decode, jxl_is_cmyk, jxl_metadata, jxl_pixel_colour
from progimage.engine.codecs.jxl.frames import JxlFrames, jxl_frames
from progimage.engine.codecs.jxl.header import (
    CONTAINER,
    HLG,
    LINEAR,
    PQ,
    SRGB,
    JxlHeader,
    boxes,
    codestream,
    is_jxl,
    jxl_header,
    jxl_size,
)
from progimage.engine.codecs.jxl.icc import icc_profile
from tests import pictures
from tests.programs import has

libjxl = pytest.mark.needs("cjxl", "djxl", "jxlinfo")
NOISE = np.random.default_rng(7)
DURATIONS = [40, 100, 30, 250, 70, 1000, 90, 20, 600]


def opened(data: bytes) -> tuple[JxlHeader, JxlFrames]:
    header = jxl_header(data)
    return header, jxl_frames(data, header)


def decoded(data: bytes, first: int = 0, last: int = 1) -> list[np.ndarray]:
    header, frames = opened(data)
    return [frame.samples for frame in jxl_decode(data, header, frames, first, last)]


def box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def lossless(samples: np.ndarray, **options: Any) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(samples, lossless=True, numthreads=1, **options))


def cjxl(folder: Path, source: Path, *options: str) -> bytes:
    target = folder / "made.jxl"
    subprocess.run(["cjxl", source, target, "--num_threads=0", *options], check=True, capture_output=True)
    return target.read_bytes()


def djxl(folder: Path, data: bytes) -> pyvips.Image:
    (folder / "made.jxl").write_bytes(data)
    target = folder / "decoded.png"
    command: list[str | Path] = ["djxl", folder / "made.jxl", target, "--bits_per_sample=16", "--num_threads=0"]
    subprocess.run(command, check=True, capture_output=True)
    return pyvips.Image.new_from_file(target)


def deep_png(folder: Path, profile: bytes | None = None) -> Path:
    down, across = np.mgrid[0:96, 0:128]
    samples = np.stack([across / 127, down / 95, (across + down) / 222], -1)
    picture = pyvips.Image.new_from_array((samples * 65535).astype("uint16")).copy(interpretation="rgb16")
    if profile:
        picture.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    picture.write_to_file(folder / "deep.png")
    return folder / "deep.png"


def odd_profile() -> bytes:
    """A profile whose curve has a name nowhere."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = profile.index(b"para") + 12
    profile[at : at + 4] = struct.pack(">i", int(1.9 * 65536))
    return bytes(profile)


def wide_profile() -> bytes:
    """Adobe RGB as one that has been made by hand: sRGB's with its red, green and blue, and a gamma of 2.2."""
    profile = bytearray(odd_profile())
    columns = {b"rXYZ": (0.60974, 0.31111, 0.01947), b"gXYZ": (0.20528, 0.62567, 0.06087)}
    columns[b"bXYZ"] = 0.14919, 0.06322, 0.74457
    for tag, column in columns.items():
        at = profile.index(tag)
        start = int.from_bytes(profile[at + 4 : at + 8], "big") + 8
        profile[start : start + 12] = b"".join(struct.pack(">i", round(value * 65536)) for value in column)
    return bytes(profile)


@pytest.fixture(scope="module")
def animations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("animations")
    frames = [pictures.colour((300, 200)).rotate(7 * i) for i in range(len(DURATIONS))]
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:], duration=DURATIONS, loop=0)
    clear = [pictures.transparent((300, 200)).rotate(7 * i) for i in range(4)]
    options: dict[str, Any] = {"save_all": True, "append_images": clear[1:], "duration": [33, 17, 50, 90], "loop": 2}
    clear[0].save(folder / "clear.png", **options)
    clear[0].save(folder / "profile.png", icc_profile=odd_profile(), **options)
    large = [pictures.colour((1300, 700)), pictures.colour((1300, 700)).rotate(10)]
    large[0].save(folder / "large.png", save_all=True, append_images=large[1:], duration=[70, 20])
    return folder


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (256, 8), (1000, 300), (1200, 1000), (17, 5000), (400, 300)])
@pytest.mark.parametrize("deep", [False, True])
def test_what_a_header_says_is_what_was_written(size: tuple[int, int], deep: bool):
    width, height = size
    data = lossless(np.zeros((height, width, 4), np.uint16 if deep else np.uint8))
    header, frames = opened(data)
    assert jxl_size(data) == jxl_size(data[:120]) == (header.width, header.height) == header.upright == size
    assert (header.bits, header.exponent_bits, header.alpha_bits) == ((16, 0, 16) if deep else (8, 0, 8))
    assert (header.xyb, header.colour.srgb, header.animated, header.deep) == (False, not deep, False, deep)
    assert frames == JxlFrames((0,), (len(codestream(data)),), True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_pixels_of_every_depth_come_back(dtype: type[Any], bands: int):
    samples = (NOISE.random((20, 30, bands)) * (1 if dtype().dtype.kind == "f" else np.iinfo(dtype).max)).astype(dtype)
    data = lossless(samples)
    (got,) = decoded(data)
    assert got.shape == samples.shape and (got == samples).all()
    assert got.dtype == (np.float32 if dtype().dtype.kind == "f" else dtype)
    header = jxl_header(data)
    assert (header.exponent_bits > 0) == (dtype().dtype.kind == "f")
    assert header.colour.space == ("grey" if bands < 3 else "rgb")


@pytest.mark.parametrize("bits", [1, 4, 7, 10, 12, 15])
def test_odd_depths_are_spread_over_the_whole_range(bits: int):
    samples = NOISE.integers(0, 1 << bits, (20, 30), dtype=np.uint16 if bits > 8 else np.uint8)
    data = lossless(samples, bitspersample=bits)
    assert jxl_header(data).bits == bits
    (got,) = decoded(data)
    most = 65535 if bits > 8 else 255
    assert np.abs(got[:, :, 0] - samples * (most / ((1 << bits) - 1))).max() <= 0.5


def test_channels_that_are_nothing_known_are_left_out():
    samples = NOISE.integers(0, 256, (3, 20, 30), dtype=np.uint8)
    data = lossless(samples, planar=True, photometric="gray")
    header = jxl_header(data)
    assert (header.extras, header.alpha_bits) == (2, 0)
    assert (decoded(data)[0][:, :, 0] == samples[0]).all()


def _with_kind(data: bytes, kind: int, flag: bool = False) -> bytes:
    """The same image, whose alpha is declared to be something else, or to be multiplied in."""
    header, data = jxl_header(data), bytes(codestream(data))
    channel = header.places.channels[0]
    bits = header.bits
    depth = ((0, 1), (0, 2)) if bits == 8 else ((0, 1), (3, 2), (bits - 1, 6))
    number = ((kind, 2),) if kind < 2 else ((2, 2), (kind - 2, 4))
    end = ((int(flag), 1),) if kind == 0 else ()
    fields = ((0, 1), *number, *depth, (0, 2), (0, 2), *end)
    return decoding._edited(data, header.places.end, [(channel.start, channel.end, fields)])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_black_is_not_lost(dtype: type[Any]):
    most = np.iinfo(dtype).max
    samples = (NOISE.random((20, 30, 4)) * most).astype(dtype)
    data = lossless(samples)
    black = _with_kind(data, 4)
    header = jxl_header(black)
    assert header.black and not header.alpha_bits and jxl_is_cmyk(header) and not jxl_is_cmyk(jxl_header(data))
    (got,) = decoded(black)
    assert (most - got == samples).all()  # in JPEG XL the most is no ink


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_taken_out_of_the_colours(dtype: type[Any]):
    most = int(np.iinfo(dtype).max)
    straight = np.full((20, 30, 4), most // 2, dtype)
    straight[:, :, 3] = np.arange(30) * (most // 30)
    product = straight.copy()
    product[:, :, :3] = (straight[:, :, :3].astype(float) * straight[:, :, 3:] / most + 0.5).astype(dtype)
    data = _with_kind(lossless(product), 0, flag=True)
    assert jxl_header(data).alpha_associated
    (got,) = decoded(data)
    assert (got[:, :, 3] == straight[:, :, 3]).all() and (got[:, 0, :3] == 0).all()
    half = got[:, 15:].astype(int)
    assert np.abs(half[:, :, :3] - straight[:, 15:, :3].astype(int)).max() <= 1


def test_frames_of_an_animation():
    samples = NOISE.integers(0, 256, (5, 40, 60, 3), dtype=np.uint8)
    data = lossless(samples)
    header, frames = opened(data)
    assert (header.animated, header.ticks, header.plays) == (True, (10, 1), 0)
    assert len(frames.durations) == 5 and frames.whole and frames.ends[-1] == len(data)
    assert (np.stack(decoded(data, 0, 5)) == samples).all()
    assert (np.stack(decoded(data, 1, 4)) == samples[1:4]).all()
    assert (decoded(data, 3, 4)[0] == samples[3]).all()
    assert jxl_frames(data, header, maximum=2).ends == frames.ends[:2]


def test_large_animations_are_decoded_one_frame_at_a_time(monkeypatch: pytest.MonkeyPatch):
    samples = NOISE.integers(0, 256, (4, 40, 60, 3), dtype=np.uint8)
    monkeypatch.setattr(decoding, "_AT_ONCE", 1000)
    assert (np.stack(decoded(lossless(samples), 0, 4)) == samples).all()


def test_a_file_cut_short():
    data = lossless(NOISE.integers(0, 256, (5, 40, 60, 3), dtype=np.uint8))
    header, frames = opened(data)
    cut = jxl_frames(data[: frames.ends[2] + 100], header)
    assert not cut.whole and cut.ends == frames.ends[:3]
    for length in range(6):
        with pytest.raises(ValueError):
            jxl_header(data[:length])
    with pytest.raises(ValueError):
        list(jxl_decode(data[:-50], header, frames, 4, 5))


def test_containers():
    data = lossless(NOISE.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    start = CONTAINER + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    parts = [data[:5], data[5:30], data[30:]]
    numbers = [b"\0\0\0\0", b"\0\0\0\1", b"\x80\0\0\2"]
    split = start + b"".join(box(b"jxlp", number + part) for number, part in zip(numbers, parts, strict=True))
    long = start + b"\0\0\0\1jxlc" + (16 + len(data)).to_bytes(8, "big") + data
    endless = start + box(b"jhgm", b"map") + b"\0\0\0\0jxlc" + data
    for file in (split, long, endless, start + box(b"jbrd", b"jpeg") + box(b"jxlc", data)):
        assert is_jxl(file) and bytes(codestream(file)) == data
        header = jxl_header(file)
        assert header == jxl_header(data) or header.jpeg or header.gain_map
        assert (decoded(file)[0] == decoded(data)[0]).all()
    assert jxl_header(endless).gain_map and jxl_header(start + box(b"jbrd", b"jpeg") + box(b"jxlc", data)).jpeg
    for broken in (start, start + b"\0\0\0\4jxlc", b"", b"RIFF", start + box(b"jxlc", b"\xff\xd8")):
        with pytest.raises(ValueError):
            jxl_header(broken)
    with pytest.raises(ValueError, match="boxes"):
        jxl_header(start + box(b"free", b"") * 70_000)


@pytest.mark.parametrize("compressed", [False, True])
def test_metadata(compressed: bool):
    exif = Image.Exif()
    exif[0x010E] = "Ein Schaf " * 30
    exif[0x0112] = 6
    xmp = b"<x:xmpmeta>" + b"a" * 500
    options: dict[str, Any] = {
        "exif": exif.tobytes(),
        "xmp": xmp,
        "compress_metadata": compressed,
        "use_container": True,
    }
    data = pictures.saved(pictures.colour(), "JXL", **options)
    assert any(box.compressed for box in boxes(data)) == compressed
    header = jxl_header(data)
    assert header.exif and header.xmp and header.orientation == 1
    found = jxl_metadata(data)
    assert found == {"exif": exif.tobytes()[6:], "xmp": xmp}
    padded = CONTAINER + box(b"Exif", b"\0\0\0\2??" + found["exif"]) + box(b"brob", b"xml nonsense")
    assert jxl_metadata(padded + box(b"jxlc", bytes(codestream(data)))) == {"exif": found["exif"]}


@libjxl
@pytest.mark.parametrize("options", ["-d 0 -e 1", "-d 0 -e 7", "-d 1 -e 3", "-d 1 -e 7", "-p", "--container=1 -d 2"])
@pytest.mark.parametrize("source", ["a.gif", "clear.png", "profile.png"])
def test_durations_are_those_that_jxlinfo_says(animations: Path, tmp_path: Path, source: str, options: str):
    data = cjxl(tmp_path, animations / source, *options.split())
    said = subprocess.run(["jxlinfo", "-v", tmp_path / "made.jxl"], check=True, capture_output=True, text=True).stdout
    header, frames = opened(data)
    assert list(frames.durations) == [round(float(ms)) for ms in re.findall(r"duration: ([\d.]+) ms", said)]
    assert frames.durations == (tuple(DURATIONS) if source == "a.gif" else (33, 17, 50, 90))
    assert frames.whole and frames.ends[-1] == len(codestream(data))
    assert f"num_loops: {header.plays}" in said and header.alpha_bits == 8


@libjxl
@pytest.mark.parametrize("at_once", [0, 25_000_000])
@pytest.mark.parametrize("distance", ["0", "1"])
def test_frames_that_are_built_on_others(
    animations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distance: str, at_once: int
):
    monkeypatch.setattr(decoding, "_AT_ONCE", at_once)
    data = cjxl(tmp_path, animations / "clear.png", "-d", distance)
    expected = imagecodecs.jpegxl_decode(data, numthreads=1)
    assert jxl_frames(data, jxl_header(data)).linked
    assert (np.stack(decoded(data, 0, 4)) == expected).all()
    assert (np.stack(decoded(data, 1, 3)) == expected[1:3]).all()


@libjxl
@pytest.mark.parametrize(
    "options",
    [
        "-d 0 -e 3 --group_order=1",
        "-d 1 -p --group_order=1 --center_x=700 --center_y=500",
        "-d 1 --progressive_dc=1",
        "-d 2 -m 1 -g 0 -e 3",
        "-d 25 --epf=3",
        "-d 2 --photon_noise=ISO3200 --gaborish=0",
    ],
)
def test_frames_of_many_parts(animations: Path, tmp_path: Path, options: str):
    data = cjxl(tmp_path, animations / "large.png", *options.split())
    header, frames = opened(data)
    assert frames.durations == (70, 20) and frames.ends[-1] == len(codestream(data))
    assert [frame.shape for frame in decoded(data, 0, 2)] == [(700, 1300, 3)] * 2


@libjxl
@pytest.mark.parametrize(
    ("name", "primaries", "transfer"),
    [
        ("RGB_D65_SRG_Rel_SRG", 1, SRGB),
        ("RGB_D65_DCI_Rel_SRG", 12, SRGB),
        ("RGB_D65_202_Rel_PeQ", 9, PQ),
        ("RGB_D65_202_Rel_HLG", 9, HLG),
        ("RGB_D65_202_Rel_709", 9, 1),
        ("RGB_D65_SRG_Rel_Lin", 1, LINEAR),
        ("RGB_DCI_DCI_Rel_DCI", 11, 17),
        ("RGB_D65_SRG_Rel_g0.45455", 1, 2),
    ],
)
@pytest.mark.parametrize("distance", ["0", "0.5"])
def test_colours_are_those_of_djxl(tmp_path: Path, name: str, primaries: int, transfer: int, distance: str):
    data = cjxl(tmp_path, deep_png(tmp_path), "-d", distance, "-x", f"color_space={name}")
    header = jxl_header(data)
    colour = jxl_pixel_colour(header)
    assert (colour.primaries, colour.transfer, colour.icc) == (primaries, transfer, False)
    assert colour.gamma == (0.45455 if transfer == 2 else None)
    assert colour.hdr == (transfer in (PQ, HLG)) and header.xyb == (distance != "0")
    difference = np.abs(decoded(data)[0].astype(int) - djxl(tmp_path, data).numpy())
    assert difference.mean() < 1 and difference.max() < 200  # of 65535


@libjxl
def test_a_profile_comes_out_as_it_went_in(tmp_path: Path):
    profile = odd_profile()
    data = cjxl(tmp_path, deep_png(tmp_path, profile), "-d", "0")
    header = jxl_header(data)
    assert header.colour.icc and jxl_pixel_colour(header).icc
    assert icc_profile(data, header) == profile
    assert (decoded(data)[0] == pyvips.Image.new_from_file(tmp_path / "deep.png").numpy()).all()


@libjxl
def test_lossy_with_a_profile_is_given_in_a_space_that_keeps_dark_and_wide_colours(tmp_path: Path):
    profile = wide_profile()
    source = deep_png(tmp_path, profile)
    data = cjxl(tmp_path, source, "-d", "0.3")
    header = jxl_header(data)
    assert header.xyb and header.colour.icc and icc_profile(data, header) == profile
    colour = jxl_pixel_colour(header)
    assert (colour.icc, colour.primaries, colour.transfer) == (False, 12, SRGB)
    wanted = pyvips.Image.new_from_file(source).icc_transform("p3", embedded=True, intent="relative", depth=16).numpy()
    assert np.abs(decoded(data)[0].astype(int) - wanted).mean() < 200  # of 65535


def test_any_bytes_give_a_value_or_a_value_error(tmp_path: Path):
    chance = random.Random(11)
    files = [
        lossless(NOISE.integers(0, 256, (3, 40, 60, 4), dtype=np.uint8)),
        pictures.saved(pictures.transparent(), "JXL", use_container=True, exif=b"II*\0" + b"1" * 40),
    ]
    if has("cjxl"):
        files.append(cjxl(tmp_path, deep_png(tmp_path, odd_profile()), "-d", "1"))
    began, values = time.process_time(), 0
    for _ in range(3000):
        changed = bytearray(chance.choice(files))
        for _ in range(chance.choice((1, 3, 12))):
            changed[chance.randrange(min(len(changed), chance.choice((30, 200, 1000))))] = chance.randrange(256)
        data = bytes(changed[: chance.choice((len(changed), chance.randrange(len(changed))))])
        try:
            header = jxl_header(data)
            jxl_frames(data, header)
            icc_profile(data, header)
            values += 1
        except ValueError:
            pass
    assert values > 100
    assert time.process_time() - began < 60


_IN_A_SANDBOX = """
import sys
from progimage.engine.codecs.samples import imagecodecs
from progimage.engine.codecs.jxl import decode as jxl_decode
from progimage.engine.codecs.jxl.frames import jxl_frames
from progimage.engine.codecs.jxl.header import jxl_header
from progimage.workers import Sandbox
data = open(sys.argv[1], "rb").read()
imagecodecs()
assert len(__import__("os").listdir("/proc/self/task")) == 1
Sandbox(1 << 29, 60, 1 << 20).enter()
header = jxl_header(data)
frames = jxl_frames(data, header)
for frame in jxl_decode.jxl_decode(data, header, frames, 0, 3):
    print(frame.samples.shape, frame.duration)
"""


def test_decoding_in_a_sandbox(tmp_path: Path):
    (tmp_path / "a.jxl").write_bytes(lossless(NOISE.integers(0, 256, (3, 40, 60, 4), dtype=np.uint8)))
    command: list[str | Path] = [sys.executable, "-c", _IN_A_SANDBOX, tmp_path / "a.jxl"]
    made = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[0].startswith("(40, 60, 4)")


def test_an_image_of_the_plugin_and_its_own_decoder_agree():
    data = pictures.saved(pictures.transparent((300, 200)), "JXL", quality=90)
    plugin = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(decoded(data)[0].astype(int) - plugin).max() <= 1
