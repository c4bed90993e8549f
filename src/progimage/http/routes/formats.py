"""The routes that list formats and transformations."""

from litestar import get

from progimage.engine import FORMATS, RenditionSpec
from progimage.engine.parameters import declared
from progimage.http.params import ANY_QUERY
from progimage.schemas import FormatRow, ParameterRow


@get(
    "/formats",
    tags=["formats"],
    summary="List the formats",
    description="Returns every format that can be read or written.",
    sync_to_thread=False,
    opt=ANY_QUERY,
)
def formats() -> list[FormatRow]:
    """Return every format that can be read or written."""
    return [FormatRow.of(format) for format in FORMATS.values()]


@get(
    "/parameters",
    tags=["formats"],
    summary="List the transformations",
    description="Returns every parameter of a rendition, in the order in which they are applied.",
    sync_to_thread=False,
    opt=ANY_QUERY,
)
def parameters() -> list[ParameterRow]:
    """Return every parameter of a rendition, in the order in which they are applied."""
    return [ParameterRow.of(one) for one in declared(RenditionSpec)]
