"""Makes docs/gallery.md and its pictures: each operation on a real photograph, by the running service.

The pictures are at the same time what the tests compare with, by eye's measure; look at them when they change.
With `--check` it writes nothing, and ends with 1 if the page is not what this program says.
"""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import httpx

DOCS = Path(__file__).parent
GALLERY = DOCS / "gallery"
LOGO, MASK = "{logo}", "{mask}"

SHOWN: dict[str, list[tuple[str, str]]] = {
    "Size": [
        ("width", "width=200"),
        ("height", "height=120"),
        ("cover", "width=200&height=200"),
        ("contain", "width=200&height=200&fit=contain&background=steelblue"),
        ("fill", "width=200&height=200&fit=fill"),
        ("inside", "width=200&height=200&fit=inside"),
        ("outside", "width=200&height=150&fit=outside"),
        ("west", "width=150&height=200&gravity=west"),
        ("focal-point", "width=150&height=200&gravity=0.75,0.4"),
        ("smart", "width=150&height=200&gravity=smart"),
        ("entropy", "width=150&height=200&gravity=entropy"),
        ("aspect", "aspect=16:9&width=240"),
        ("dpr", "width=120&dpr=2"),
        ("zoom", "crop=110,60,60,60&zoom=4"),
        ("nearest", "crop=110,60,60,60&zoom=4&kernel=nearest"),
        ("mirror", "width=200&height=240&fit=contain&extend_mode=mirror"),
        ("copy", "width=200&height=240&fit=contain&extend_mode=copy"),
    ],
    "Region": [
        ("crop", "crop=100,40,240,160"),
        ("crop-percent", "crop=25%,10%,50%,60%"),
        ("crop-placed", "crop=200,200&gravity=smart"),
        ("trim", "ops=width:200;extend:30;background:white|trim:20"),
    ],
    "Turn": [
        ("rotate-90", "width=200&rotate=90"),
        ("rotate-15", "width=200&rotate=15"),
        ("rotate-background", "width=200&rotate=-30&background=khaki"),
        ("flip", "width=200&flip"),
        ("flop", "width=200&flop"),
    ],
    "Tone": [
        ("normalize", "width=200&normalize"),
        ("gamma", "width=200&gamma=2.2"),
        ("brightness", "width=200&brightness=1.5"),
        ("contrast", "width=200&contrast=1.8"),
        ("saturation", "width=200&saturation=2.5"),
        ("hue", "width=200&hue=90"),
        ("sepia", "width=200&sepia"),
        ("tint", "width=200&tint=royalblue"),
        ("grayscale", "width=200&grayscale"),
        ("negate", "width=200&negate"),
        ("threshold", "width=200&threshold=110"),
    ],
    "Effects": [
        ("median", "width=200&median=7"),
        ("blur", "width=200&blur=5"),
        ("sharpen", "width=200&sharpen=2"),
        ("pixelate", "width=200&pixelate=12"),
    ],
    "Frame and mask": [
        ("extend", "width=160&extend=10,40&background=lavender"),
        ("border", "width=180&border=10&border_color=teal"),
        ("radius", "width=200&radius=40,0"),
        ("circle", "width=160&height=160&radius=max"),
        ("mask", f"width=240&mask={MASK}"),
    ],
    "Watermark": [
        ("watermark", f"width=300&watermark={LOGO}&watermark_scale=0.4&watermark_offset=10,10"),
        (
            "watermark-tile",
            f"width=300&watermark={LOGO}&watermark_scale=0.2&watermark_tile&watermark_offset=20,20"
            "&watermark_opacity=0.5",
        ),
        ("text", "width=300&text=Chelsea&text_size=32&text_font=serif-italic"),
        ("text-hebrew", "width=300&text=שלום, עולם!&text_size=32&text_gravity=northeast"),
        ("text-arabic", "width=300&text=مرحبا بالعالم&text_size=32&text_color=gold"),
        ("text-devanagari", "width=300&text=नमस्ते दुनिया&text_size=32"),
        ("text-thai-tamil", "width=300&text=สวัสดี வணக்கம்&text_size=32"),
        ("text-cjk", "width=300&text=你好 こんにちは 안녕&text_size=28"),
        ("text-tile", "width=300&text=SAMPLE&text_tile&text_opacity=0.5&text_offset=30,30&text_font=sans-bold"),
    ],
    "Several operations in your own order": [
        ("ops", "ops=rotate:20|width:200;height:200|blur:1.5|border:6;border_color:firebrick"),
        ("avatar", "width=120&height=120&gravity=0.5,0.5&grayscale&radius=max"),
    ],
    "Output": [
        ("palette", "width=200&palette=8"),
        ("quality", "width=200&quality=15"),
        ("max_bytes", "width=200&max_bytes=2500"),
    ],
}
"""For each group, what is shown: the name of its picture, and the query."""


def extension(name: str) -> str:
    """Return the format that a picture is kept in: WebP, but where the point is another one."""
    return {"palette": "png", "quality": "jpg", "max_bytes": "jpg"}.get(name, "webp")


def page() -> str:
    """Return the page."""
    parts = [
        "# Gallery\n\nThe result of each operation, rendered by the service."
        " [transformations.md](transformations.md) describes the parameters.\n\nThe photograph is *Chelsea* by Stéfan"
        " van der Walt (CC0). `{logo}` and `{mask}` stand for the references of the two drawings.\n\n"
        "![the photograph](gallery/photograph.jpg) ![the logo](gallery/logo.svg) ![the mask](gallery/mask.svg)\n"
    ]
    for group, entries in SHOWN.items():
        parts.append(f"\n## {group}\n\n| | |\n|---|---|\n")
        parts += [
            f"| `{query.replace('|', '&#124;')}` | ![{name}](gallery/{name}.{extension(name)}) |\n"
            for name, query in entries
        ]
    return "".join(parts)


def make_pictures() -> None:
    """Start the service, store the photograph, and get every picture."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("progimage")
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([program, "serve", "--port", str(port), "--data-dir", folder])
        try:
            client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
            _wait_until_ready(client)
            photograph, logo, mask = (
                client.put("/storage/", content=(GALLERY / name).read_bytes()).raise_for_status().text
                for name in ("photograph.jpg", "logo.svg", "mask.svg")
            )
            for name, query in (entry for entries in SHOWN.values() for entry in entries):
                asked = urlencode(parse_qsl(query.format(logo=logo, mask=mask), keep_blank_values=True))
                answer = client.get(f"/storage/{photograph}.{extension(name)}?{asked}").raise_for_status()
                (GALLERY / f"{name}.{extension(name)}").write_bytes(answer.content)
        finally:
            server.terminate()
            server.wait()


def _wait_until_ready(client: httpx.Client) -> None:
    for _ in range(300):
        try:
            if client.get("/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError("the service did not start")


def main() -> int:
    """Write the page and its pictures, or check the page."""
    if "--check" in sys.argv:
        if (DOCS / "gallery.md").read_text() == page():
            return 0
        print("docs/gallery.md is not what docs/gallery.py says: run `make docs`")
        return 1
    for old in GALLERY.glob("*.webp"):
        old.unlink()
    make_pictures()
    (DOCS / "gallery.md").write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
