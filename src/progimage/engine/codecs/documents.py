"""Page description formats, which are write-only: we never run programs contained in files."""

from collections.abc import Iterator
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.files import OutputFile
from progimage.engine.frame import Frame, to_pillow

if TYPE_CHECKING:
    from progimage.engine.plan import Plan


class _Pdf(PillowCodec):
    """Pages are stored as JPEG, except those with 1 bit, which are stored losslessly."""

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write pages in groups of consecutive pages that are stored in the same way."""
        with target.file() as file:
            appends: dict[str, bool] = {}
            for _, run in groupby(chain([first], rest), lambda frame: frame.mode == "1"):
                frames = list(run)
                opening, *others = map(to_pillow, frames)
                options = self.options(frames[0], plan) | appends
                opening.save(file, self.plugin, save_all=True, append_images=others, **options)
                appends = {"append": True}

    def options(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return Pillow's options, without a quality if nothing is stored as JPEG."""
        options = super().options(frame, plan)
        if frame.mode not in ("L", "RGB", "CMYK"):
            del options["quality"]
        return options


CODECS = (
    PillowCodec(
        Format(
            name="EPS",
            extensions=("eps", "ps"),
            media_type="application/postscript",
            description="Encapsulated PostScript",
            can_read=False,
            modes=("L", "RGB", "CMYK"),
        )
    ),
    _Pdf(
        Format(
            name="PDF",
            extensions=("pdf",),
            media_type="application/pdf",
            description="Portable Document Format",
            can_read=False,
            modes=("1", "L", "RGB", "CMYK"),
            pages=True,
            writes_pages=True,
            lossless=False,
            max_side=60_000,
            options=("quality",),
            usual_quality=85,
        ),
        save={"quality": 85, "creationDate": None, "modDate": None},
    ),
)
