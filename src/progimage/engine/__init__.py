"""The engine: all that touches pixels.

It knows neither HTTP nor storage, so it is also a plain Python library::

    from progimage.engine import Limits, RenditionSpec, inspect, render

    info = inspect("photo.heic", Limits())
    render("photo.heic", RenditionSpec(format="WEBP"), "photo.webp", Limits())
"""

from progimage.engine.codecs import CODECS, FORMATS, by_extension
from progimage.engine.codecs.format import Format
from progimage.engine.cost import Facts, look_cost, pyramid_cost, rendition_cost
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
from progimage.engine.inspect import INSPECTION, ImageInfo, Survey, inspect, survey
from progimage.engine.ladder import SIDES, Ladder, Step
from progimage.engine.limits import Limits
from progimage.engine.look import Placeholder, Swatch, palette, placeholder
from progimage.engine.pipeline import ENGINE_VERSION, Rendered, render
from progimage.engine.pyramid import build_pyramid, may_serve
from progimage.engine.spec import RenditionSpec

__all__ = [
    "CODECS",
    "ENGINE_VERSION",
    "FORMATS",
    "INSPECTION",
    "SIDES",
    "CannotRepresent",
    "CorruptImage",
    "EngineError",
    "Facts",
    "Format",
    "ImageInfo",
    "InvalidParameter",
    "Ladder",
    "LibraryNotLoaded",
    "LimitExceeded",
    "Limits",
    "NotAnImage",
    "Placeholder",
    "Rendered",
    "RenditionSpec",
    "Step",
    "Survey",
    "Swatch",
    "TooCostly",
    "UnknownParameter",
    "UnreadKind",
    "build_pyramid",
    "by_extension",
    "check_fonts",
    "fonts_digest",
    "inspect",
    "look_cost",
    "may_serve",
    "palette",
    "placeholder",
    "pyramid_cost",
    "render",
    "rendition_cost",
    "survey",
    "use_folder",
]
