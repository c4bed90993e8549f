"""The parts of the OpenAPI document that can't be derived from the handlers' signatures."""

import inspect
import re
from copy import deepcopy
from typing import Any

from litestar.openapi.spec import OpenAPI, OpenAPIResponse, Operation, Parameter, PathItem, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.openapi.spec.media_type import OpenAPIMediaType

from progimage import schemas as documents
from progimage.auth import EXPIRES, SIGNATURE, Visibility
from progimage.engine import ImageInfo, Placeholder, RenditionSpec, Swatch
from progimage.engine import parameters as engine_parameters
from progimage.http.responses.streams import NDJSON, ZIP
from progimage.http.routes import jobs
from progimage.images.options import DAMAGED
from progimage.images.requests import AUTO, PRESET, extensions

_ORIGINAL = "/storage/{reference}"
_UPLOADS = ("/storage", "/storage/{reference}", "/info")
_RENDITIONS = "/storage/renditions"
_SAID = {
    "visibility": f"Who can read the images: {', '.join(Visibility)}.",
    "expires": "When the images expire: a date, or a duration such as `30d` or `P30D`.",
    "label": "A label to filter lists by; can be repeated.",
    "metadata": "Metadata of the images: a JSON object with string values.",
    DAMAGED: "Images that have lost pixels: `refuse` rejects them, `accept` keeps what can be decoded.",
    "url": "A URL to fetch the image from, if the service allows uploads by URL; can be repeated.",
}
_ENGINE: dict[type, type] = {
    documents.ImageRecord: ImageInfo,
    documents.OwnImageRecord: ImageInfo,
    documents.InspectedImage: ImageInfo,
    documents.PlaceholderDocument: Placeholder,
    documents.SwatchDocument: Swatch,
}
"""The engine's classes whose docstrings describe the members of a document."""
_WORDS = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "oneOf": "one_of",
}


def complete(document: OpenAPI) -> None:
    """Describe documents, bodies, and the paths that share a handler with others: renditions and `/transform`."""
    for name, schema in document.components.schemas.items():
        _describe(schema, getattr(documents, name, None) or getattr(jobs, name, None))
    paths = document.paths
    assert paths is not None
    for path in _UPLOADS:
        for operation in (paths[path].put, paths[path].post):
            if operation:
                stored = path != "/info"
                operation.request_body = _image_body(_SAID if stored else {})
                said = _said() if stored else [_damaged()]
                operation.parameters = [*(operation.parameters or []), *said]
    renditions = paths[_RENDITIONS].post
    assert renditions is not None
    renditions.request_body = _json_body()
    renditions.responses = {**(renditions.responses or {}), "200": _stream("The results.")}
    original = paths[_ORIGINAL]
    paths[f"{_ORIGINAL}.{{extension}}"] = _rendition_paths(original)
    problems = {status: answer for status, answer in (original.get.responses or {}).items() if status in ("400", "503")}  # type: ignore[union-attr]
    for path in ("/transform.{extension}", "/transform"):
        paths[path] = _transform_path("extension" in path, problems)


def _describe(schema: Schema, source: type | None) -> None:
    """Describe a document and its members by the docstrings of its class and of the engine's."""
    if source is None:
        return
    docstrings = [inspect.getdoc(one) or "" for one in (_ENGINE.get(source, source), *source.__mro__[:-1])]
    schema.description = (inspect.getdoc(source) or "").partition("\n\n")[0]
    meanings = {name: text for docstring in docstrings for name, text in _attributes(docstring).items()}
    for name, member in (schema.properties or {}).items():
        if isinstance(member, Schema):
            member.description = meanings.get(name, "").replace("None", "null") or None


def _attributes(docstring: str) -> dict[str, str]:
    """Return the names and texts in the Attributes section of a docstring."""
    _, _, section = docstring.partition("Attributes:\n")
    return {name: " ".join(text.split()) for name, text in re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.M)}


def _rendition_paths(original: PathItem) -> PathItem:
    rendition = deepcopy(original)
    rendition.delete = rendition.put = rendition.patch = None
    for operation, name in ((rendition.get, "get"), (rendition.head, "head")):
        assert operation is not None
        operation.operation_id = f"{name}_rendition"
        operation.summary = "Get a rendition"
        operation.description = (
            "Returns the image, converted and transformed.\n\n"
            "- Animations and pages are kept if the format supports them. Otherwise the first frame or page is"
            " returned.\n"
            "- If the original already has this format and no transformation is requested, its compressed pixel data is"
            " copied as is, without metadata except what `keep` names.\n"
            "- The extension `auto` selects the best format for the caller and the image."
        )
        operation.parameters = [*(operation.parameters or []), _extension(), *_transformations()]
    return rendition


def _transform_path(with_extension: bool, problems: dict[str, Any]) -> PathItem:
    operation = Operation(
        operation_id="transform_to" if with_extension else "transform",
        tags=["transform"],
        summary="Transform images without storing them",
        description=(
            "The body is an image, or a multipart form with one or more fields `data`.\n\n"
            "- For one image, the response is the transformed image.\n"
            "- For several images, the response is a stream: a ZIP of the files and `results.ndjson`, or, with"
            f" `Accept: {NDJSON}`, JSON lines with the files in base64. If one fails, the others are not affected."
            + ("" if with_extension else "\n- Without an extension, each image keeps its format.")
        ),
        parameters=[*([_extension()] if with_extension else []), _download(), _damaged(), *_transformations()],
        request_body=_image_body({}),
        responses={"200": _stream("The image, or the results.", "image/*"), **problems},
    )
    return PathItem(post=operation)


def _stream(description: str, *more: str) -> OpenAPIResponse:
    binary = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY))
    return OpenAPIResponse(description=description, content=dict.fromkeys((*more, NDJSON, ZIP), binary))


def _said() -> list[Parameter]:
    """Describe the options of an upload."""
    return [
        Parameter(name=name, param_in="query", description=text, schema=Schema(type=OpenAPIType.STRING))
        for name, text in {**_SAID, "ticket": "An upload ticket, which allows one upload without an API key."}.items()
    ]


def _image_body(fields: dict[str, str]) -> RequestBody:
    texts = {name: Schema(type=OpenAPIType.STRING, description=text) for name, text in fields.items()}
    binary = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
    form = Schema(
        type=OpenAPIType.OBJECT,
        properties={"data": Schema(type=OpenAPIType.ARRAY, items=binary), **texts},
        required=[] if "url" in fields else ["data"],
    )
    return RequestBody(
        required=True,
        content={
            "multipart/form-data": OpenAPIMediaType(schema=form),
            "image/*": OpenAPIMediaType(schema=binary),
        },
    )


def _json_body() -> RequestBody:
    texts = Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.STRING))
    document = Schema(
        type=OpenAPIType.OBJECT,
        properties={
            "references": texts,
            "extension": Schema(type=OpenAPIType.STRING, enum=extensions()),
            "presets": texts,
            "queries": texts,
        },
        required=["references", "extension"],
    )
    return RequestBody(required=True, content={"application/json": OpenAPIMediaType(schema=document)})


def _extension() -> Parameter:
    return Parameter(
        name="extension",
        param_in="path",
        required=True,
        description=f"The format to convert to; `{AUTO}` selects the best one.",
        schema=Schema(type=OpenAPIType.STRING, enum=extensions()),
    )


def _download() -> Parameter:
    description = "Make browsers save the file under this name; empty means a default name."
    return Parameter(name="download", param_in="query", description=description, schema=Schema(type=OpenAPIType.STRING))


def _damaged() -> Parameter:
    schema = Schema(type=OpenAPIType.STRING, enum=["refuse", "accept"])
    return Parameter(name=DAMAGED, param_in="query", description=_SAID[DAMAGED], schema=schema)


def _transformations() -> list[Parameter]:
    """Describe every parameter of a rendition, from its declaration."""
    described = [
        Parameter(
            name=one.name,
            param_in="query",
            description=f"{one.doc} Allowed: {one.kind.allowed}."
            + (f" Unit: {one.unit}." if one.unit else "")
            + (f" Default: {one.default_text}." if one.default_text else "")
            + (f" Aliases: {', '.join(one.aliases)}." if one.aliases else ""),
            schema=_schema(one.kind.schema()),
        )
        for one in engine_parameters.declared(RenditionSpec)
    ]
    ours = (
        (PRESET, "The name of a preset. Other parameters in the query override those of the preset."),
        (EXPIRES, "Unix timestamp at which the signed request expires."),
        (SIGNATURE, "The signature of the request; see docs/access.md."),
    )
    return described + [
        Parameter(name=name, param_in="query", description=text, schema=Schema(type=OpenAPIType.STRING))
        for name, text in ours
    ]


def _schema(json_schema: dict[str, Any]) -> Schema:
    """Convert a JSON Schema to Litestar's."""
    parts = {_WORDS.get(word, word): value for word, value in json_schema.items()}
    if "type" in parts:
        parts["type"] = OpenAPIType(parts["type"])
    if "one_of" in parts:
        parts["one_of"] = [_schema(part) for part in parts["one_of"]]
    return Schema(**parts)
