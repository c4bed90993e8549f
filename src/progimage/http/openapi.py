"""What the OpenAPI document says beyond what the handlers' signatures tell."""

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
from progimage.images.options import DAMAGED
from progimage.images.requests import AUTO, PRESET, extensions

_ORIGINAL = "/storage/{reference}"
_UPLOADS = ("/storage", "/storage/{reference}", "/info")
_RENDITIONS = "/storage/renditions"
_SAID = {
    "visibility": f"Who may read the images: {', '.join(Visibility)}.",
    "expires": "Until when they are there: a date, or a duration such as 30d or P30D.",
    "label": "A label to find them by; several times.",
    "metadata": "A JSON object of names and texts.",
    DAMAGED: "Whether an image that has lost pixels is kept as far as it can be decoded: refuse, accept.",
    "url": "From where an image is fetched, where that is allowed; several times.",
}
_ENGINE: dict[type, type] = {
    documents.ImageRecord: ImageInfo,
    documents.OwnImageRecord: ImageInfo,
    documents.InspectedImage: ImageInfo,
    documents.PlaceholderDocument: Placeholder,
    documents.SwatchDocument: Swatch,
}
"""Where the engine says what the members of a document mean."""
_WORDS = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "oneOf": "one_of",
}


def complete(document: OpenAPI) -> None:
    """Describe documents, bodies, and the paths that share a handler with others: renditions, and `/transform`."""
    for name, schema in document.components.schemas.items():
        _describe(schema, getattr(documents, name, None))
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
    """Say what a document and its members mean, as the docstrings of its class and of the engine's do."""
    if source is None:
        return
    docstrings = [inspect.getdoc(one) or "" for one in (_ENGINE.get(source, source), *source.__mro__[:-1])]
    schema.description = (inspect.getdoc(source) or "").partition("\n\n")[0]
    meanings = {name: text for docstring in docstrings for name, text in _attributes(docstring).items()}
    for name, member in (schema.properties or {}).items():
        if isinstance(member, Schema):
            member.description = meanings.get(name, "").replace("None", "null") or None


def _attributes(docstring: str) -> dict[str, str]:
    """Read the section *Attributes* of a docstring."""
    _, _, section = docstring.partition("Attributes:\n")
    return {name: " ".join(text.split()) for name, text in re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.M)}


def _rendition_paths(original: PathItem) -> PathItem:
    rendition = deepcopy(original)
    rendition.delete = rendition.put = rendition.patch = None
    for operation, name in ((rendition.get, "get"), (rendition.head, "head")):
        assert operation is not None
        operation.operation_id = f"{name}_rendition"
        operation.summary = "Get an image in another format or shape"
        operation.description = (
            "The image, converted and transformed. An animation stays one, and pages stay pages, where the format has"
            " them; otherwise it is the first. If the original has that format and nothing else is asked for, its own"
            " bytes are the answer. The extension `auto` takes the format that suits the client and the image best."
        )
        operation.parameters = [*(operation.parameters or []), _extension(), *_transformations()]
    return rendition


def _transform_path(with_extension: bool, problems: dict[str, Any]) -> PathItem:
    operation = Operation(
        operation_id="transform_to" if with_extension else "transform",
        tags=["transform"],
        summary="Transform images without storing them",
        description=(
            "The body is an image, or a multipart form with one or more fields `data`. The answer to one image is the"
            " image; several are answered by a stream, a ZIP of the files and `results.ndjson`, or with"
            f" `Accept: {NDJSON}` lines of JSON with the files in base64. Of several, one that fails harms no other."
            + ("" if with_extension else " Without an extension each keeps its own format.")
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
    """Describe what an upload may say of its images."""
    return [
        Parameter(name=name, param_in="query", description=text, schema=Schema(type=OpenAPIType.STRING))
        for name, text in {**_SAID, "ticket": "Lets in whoever has no key, once."}.items()
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
        description=f"The format to convert to; `{AUTO}` takes the one that suits best.",
        schema=Schema(type=OpenAPIType.STRING, enum=extensions()),
    )


def _download() -> Parameter:
    description = "Ask the browser to save the file, under this name if one is given."
    return Parameter(name="download", param_in="query", description=description, schema=Schema(type=OpenAPIType.STRING))


def _damaged() -> Parameter:
    schema = Schema(type=OpenAPIType.STRING, enum=["refuse", "accept"])
    return Parameter(name=DAMAGED, param_in="query", description=_SAID[DAMAGED], schema=schema)


def _transformations() -> list[Parameter]:
    """Describe every parameter of a rendition, from its own declaration."""
    described = [
        Parameter(
            name=one.name,
            param_in="query",
            description=f"{one.doc} Allowed: {one.kind.allowed}."
            + (f" In {one.unit}." if one.unit else "")
            + (f" Usually {one.default_text}." if one.default_text else "")
            + (f" Also called {', '.join(one.aliases)}." if one.aliases else ""),
            schema=_schema(one.kind.schema()),
        )
        for one in engine_parameters.declared(RenditionSpec)
    ]
    ours = (
        (PRESET, "The name of transformations that the operator has set; the others of the query go before its own."),
        (EXPIRES, "Until when a signed request is valid, in seconds since 1970."),
        (SIGNATURE, "The signature of the request; see docs/operations.md."),
    )
    return described + [
        Parameter(name=name, param_in="query", description=text, schema=Schema(type=OpenAPIType.STRING))
        for name, text in ours
    ]


def _schema(json_schema: dict[str, Any]) -> Schema:
    """Make Litestar's schema of a JSON schema."""
    parts = {_WORDS.get(word, word): value for word, value in json_schema.items()}
    if "type" in parts:
        parts["type"] = OpenAPIType(parts["type"])
    if "one_of" in parts:
        parts["one_of"] = [_schema(part) for part in parts["one_of"]]
    return Schema(**parts)
