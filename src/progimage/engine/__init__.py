"""The engine: all code that touches pixels.

It depends on neither HTTP nor storage, so it also works as a plain Python library::

    from progimage.engine import Limits, RenditionSpec, inspect, render

    info = inspect("photo.heic", Limits())
    render("photo.heic", RenditionSpec(format="WEBP"), "photo.webp", Limits())
"""

from progimage.engine.analysis import Placeholder, Swatch, palette, placeholder
from progimage.engine.codecs import CODECS, FORMATS, by_extension
from progimage.engine.codecs.format import Format
from progimage.engine.cost import Facts, analysis_cost, pyramid_cost, rendition_cost
from progimage.engine.errors import (
    CannotRepresent,
    CorruptImage,
    EngineError,
    InvalidParameter,
    LibraryNotLoaded,
    LimitExceeded,
    NotAnImage,
    TooCostly,
    UnknownParameter,
    UnreadKind,
)
from progimage.engine.fonts import check_fonts, fonts_digest, use_folder
from progimage.engine.inspect import INSPECTION_VERSION, ImageInfo, Inspection, inspect, inspect_upload
from progimage.engine.ladder import SIDES, Ladder, Rung
from progimage.engine.limits import Limits
from progimage.engine.pipeline import ENGINE_VERSION, Rendered, render
from progimage.engine.pyramid import build_pyramid, may_serve
from progimage.engine.spec import RenditionSpec

__all__ = [
    "CODECS",
    "ENGINE_VERSION",
    "FORMATS",
    "INSPECTION_VERSION",
    "SIDES",
    "CannotRepresent",
    "CorruptImage",
    "EngineError",
    "Facts",
    "Format",
    "ImageInfo",
    "Inspection",
    "InvalidParameter",
    "Ladder",
    "LibraryNotLoaded",
    "LimitExceeded",
    "Limits",
    "NotAnImage",
    "Placeholder",
    "Rendered",
    "RenditionSpec",
    "Rung",
    "Swatch",
    "TooCostly",
    "UnknownParameter",
    "UnreadKind",
    "analysis_cost",
    "build_pyramid",
    "by_extension",
    "check_fonts",
    "fonts_digest",
    "inspect",
    "inspect_upload",
    "may_serve",
    "palette",
    "placeholder",
    "pyramid_cost",
    "render",
    "rendition_cost",
    "use_folder",
]
