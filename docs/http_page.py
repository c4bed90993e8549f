"""The reference of the HTTP API, made from the OpenAPI document that the service has at `/docs/openapi.json`."""

from typing import Any

from progimage.engine import RenditionSpec
from progimage.engine.parameters import declared

_METHODS = ("put", "post", "get", "patch", "delete")
"""Of an operation's methods the first is shown; HEAD is GET without the body, everywhere."""
_TAGS = ("storage", "transform", "formats", "iiif", "access", "jobs", "operation")
_TITLES = {"iiif": "IIIF"}
_Operation = tuple[str, str, dict[str, Any]]
"""Path, method, and what the document says of them."""
_HEAD = """# HTTP API

Every service has this reference with forms to try it out at `/docs`, and as an OpenAPI document at
`/docs/openapi.json`.

- **Authentication.** If the service requires API keys, send `Authorization: Bearer KEY`, or the key as the password of
  HTTP basic authentication.
- **HEAD.** Every `GET` of an image or a description also works as `HEAD`.

## Errors

Errors are `application/problem+json`: [a document](#problemdocument) that says what is wrong, and for which parameter,
with the given value and the allowed ones.

| status | meaning |
|---|---|
| 400 | An invalid request, a file that isn't an image, or a damaged image. |
| 401 | No valid API key. |
| 403 | Not allowed, or beyond a quota. |
| 404 | It doesn't exist, or isn't visible to you. |
| 405 | The path doesn't support the method. |
| 406 | `Accept` doesn't allow a stream of results. |
| 408 | The body didn't arrive in time. |
| 409 | A legal hold, or an `Idempotency-Key` that was used for another image. |
| 412 | `If-Match` or `If-Unmodified-Since` doesn't match. |
| 413 | Too large, or too much at once. |
| 415 | An unsupported `Content-Encoding`. |
| 416 | The range begins after the last byte. |
| 422 | The image can't be processed: it takes too much time or memory, or its codec crashed. Or a URL fails. |
| 429 | A rate limit; try again after `Retry-After` seconds. |
| 503 | Busy or temporarily unavailable; try again after `Retry-After` seconds. |
| 507 | The disk is full; stored images can still be read and deleted. |
"""


def http_page(document: dict[str, Any]) -> str:
    """Describe every path and every document.

    Args:
        document: The OpenAPI document.
    """
    paths = sorted(document["paths"].items())
    operations = [(path, method, item[method]) for path, item in paths for method in _METHODS if method in item]
    parts = [_HEAD]
    tags: dict[str, dict[str, list[_Operation]]] = {}
    for one in operations:
        tags.setdefault(one[2]["tags"][0], {}).setdefault(one[2]["summary"], []).append(one)
    for tag, summaries in sorted(tags.items(), key=lambda one: _TAGS.index(one[0])):
        parts.append(f"\n## {_TITLES.get(tag, tag.capitalize())}\n")
        parts += [_operation(summary, same) for summary, same in summaries.items()]
    parts.append("\n## Documents\n")
    parts += [_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return "".join(parts)


def _operation(summary: str, same: list[_Operation]) -> str:
    *_, operation = same[0]
    requests = ", ".join(f"`{method.upper()} {path}`" for path, method, _ in same)
    parts = [f"\n### {summary.removesuffix('?')}\n\n{requests}\n"]
    if operation.get("description"):
        parts.append(f"\n{operation['description']}\n")
    named = {one["name"]: one for one in operation.get("parameters", []) if one.get("description")}
    transformations = {one.name for one in declared(RenditionSpec)}
    transforms = transformations <= named.keys()
    shown = [one for name, one in named.items() if not (transforms and name in transformations)]
    if shown:
        parts.append("\n| parameter | in | type | description |\n|---|---|---|---|\n")
        parts += [
            f"| `{one['name']}` | {one['in']} | {_type(one['schema']).removesuffix(' or null')} |"
            f" {_cell(one['description'])} |\n"
            for one in shown
        ]
    if transforms:
        parts.append("\nPlus every parameter of [transformations.md](transformations.md).\n")
    if "requestBody" in operation:
        parts.append(f"\nBody: {', or '.join(_contents(operation['requestBody']))}.\n")
    parts.append(f"\nResponses: {', '.join(_answer(*one) for one in sorted(operation['responses'].items()))}.\n")
    return "".join(parts)


def _answer(status: str, answer: dict[str, Any]) -> str:
    if status >= "400":
        return status
    return f"**{status}** {' or '.join(_contents(answer))}".strip()


def _contents(body: dict[str, Any]) -> list[str]:
    return [f"`{media}` {_type(one['schema'])}".strip() for media, one in body.get("content", {}).items()]


def _schema(name: str, schema: dict[str, Any]) -> str:
    parts = [f"\n### {name}\n"]
    if schema.get("description"):
        parts.append(f"\n{schema['description']}\n")
    if "properties" in schema:
        parts.append("\n| member | type | description |\n|---|---|---|\n")
        parts += [
            f"| `{member}` | {_type(one)} | {_cell(one.get('description', ''))} |\n"
            for member, one in schema["properties"].items()
        ]
    else:
        parts.append(f"\n{_type(schema)}\n")
    return "".join(parts)


def _type(schema: dict[str, Any]) -> str:
    """Say in words what a JSON schema allows."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "oneOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["oneOf"]))
    if "enum" in schema:
        many = len(schema["enum"]) > 20  # the extensions
        return "one of [formats.md](formats.md)" if many else ", ".join(f"`{one}`" for one in schema["enum"])
    if schema.get("format") == "binary":
        return ""
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {})) or 'files'}"
    if kind == "object" and schema.get("properties"):
        return "with " + ", ".join(f"`{name}`" for name in schema["properties"])
    low, high = schema.get("minimum"), schema.get("maximum")
    bounds = f", {low} to {high}" if None not in (low, high) else f", {low} or more" if low is not None else ""
    return f"{kind}{bounds}"


def _cell(text: str) -> str:
    return text.replace("|", "&#124;").replace("\n", " ")
