"""What the OpenAPI document says beyond what the handlers' signatures tell."""

from copy import deepcopy

from litestar.openapi.spec import OpenAPI, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.openapi.spec.media_type import OpenAPIMediaType

from progimage.engine import FORMATS


def complete(document: OpenAPI) -> None:
    """Describe the bodies of uploads, and the path of renditions, which shares its handler with that of originals."""
    paths = document.paths or {}
    for item in paths.values():
        for operation in (item.put, item.post):
            if operation:
                operation.request_body = _upload_body()
    item = paths["/storage/{reference}"]
    rendition = deepcopy(item)
    rendition.delete = rendition.put = None
    for operation, name in ((rendition.get, "get"), (rendition.head, "head")):
        assert operation is not None
        operation.operation_id = f"{name}_rendition"
        operation.summary = "Get an image in another format"
        operation.description = (
            "The image, converted. An animation stays one, and pages stay pages, where the format has them; otherwise"
            " it is the first. If the original has that format, its own bytes are the answer."
        )
        operation.parameters = [*(operation.parameters or []), *_rendition_parameters()]
    paths["/storage/{reference}.{extension}"] = rendition


def _upload_body() -> RequestBody:
    binary = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
    form = Schema(
        type=OpenAPIType.OBJECT,
        properties={"data": Schema(type=OpenAPIType.ARRAY, items=binary)},
        required=["data"],
    )
    return RequestBody(
        required=True,
        content={
            "multipart/form-data": OpenAPIMediaType(schema=form),
            "image/*": OpenAPIMediaType(schema=binary),
        },
    )


def _rendition_parameters() -> list[Parameter]:
    extensions = sorted(e for f in FORMATS.values() if f.can_write for e in f.extensions)
    return [
        Parameter(
            name="extension",
            param_in="path",
            required=True,
            description="The format to convert to.",
            schema=Schema(type=OpenAPIType.STRING, enum=extensions),
        ),
        Parameter(
            name="page",
            param_in="query",
            description="The one page or frame to take, counted from 1.",
            schema=Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=100000),
        ),
    ]
