"""Requests to the service and parsers for its responses. The two clients send them."""

import io
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO, Any, Generic, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec

from progimage.client.errors import ConnectionFailed, ServiceError
from progimage.client.results import (
    Account,
    Begun,
    Format,
    Image,
    Imported,
    Job,
    Page,
    Placeholder,
    Rendition,
    Signed,
    Swatch,
    Ticket,
)

T = TypeVar("T")
Source = str | os.PathLike[str] | bytes | IO[bytes]
"""An image: a path, bytes, an open file, or a URL (http:// or https://) that the service fetches."""
CHUNK = 256 * 1024
_FETCHED = ("http://", "https://")
_LISTED_AT_ONCE = 500


@dataclass(frozen=True)
class Body:
    """Request body. It can be sent again if its source can be read again.

    Attributes:
        source: Bytes, a path or an open file.
        start: Position of an open file where the body starts.
    """

    source: str | os.PathLike[str] | bytes | IO[bytes]
    start: int = 0

    @classmethod
    def of(cls, source: Source) -> "Body":
        """Return the body of a source, starting at the current position of an open file."""
        start = source.tell() if _is_file(source) and source.seekable() else 0  # type: ignore[union-attr]
        return cls(source, start)

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent again."""
        return not _is_file(self.source) or self.source.seekable()  # type: ignore[union-attr]

    @property
    def size(self) -> int | None:
        """Size in bytes, if known."""
        if isinstance(self.source, bytes):
            return len(self.source)
        if not _is_file(self.source):
            return Path(self.source).stat().st_size  # type: ignore[arg-type]
        if not self.repeatable:
            return None
        file: IO[bytes] = self.source  # type: ignore[assignment]
        end = file.seek(0, io.SEEK_END)
        file.seek(self.start)
        return end - self.start

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes from the start."""
        if isinstance(self.source, bytes):
            yield self.source
            return
        if _is_file(self.source):
            file: IO[bytes] = self.source  # type: ignore[assignment]
            if self.repeatable:
                file.seek(self.start)
            yield from iter(lambda: file.read(CHUNK), b"")
            return
        with Path(self.source).open("rb") as opened:  # type: ignore[arg-type]
            yield from iter(lambda: opened.read(CHUNK), b"")


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request and the parser for its response.

    Attributes:
        method: HTTP method.
        path: Path of the URL.
        read: Parses the response.
        params: Query parameters.
        json: Body, as a JSON value.
        body: Body, as an image.
        headers: Additional headers.
        repeatable: Whether sending it again is harmless.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Sequence[tuple[str, str]] = ()
    json: Any = None
    body: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True

    @property
    def may_be_repeated(self) -> bool:
        """Whether it can be sent again without harm."""
        return self.repeatable and (self.body is None or self.body.repeatable)

    def request_headers(self) -> dict[str, str]:
        """Return the headers, including those for the body."""
        headers = dict(self.headers)
        size = self.body.size if self.body else None
        if size is not None:
            headers["content-length"] = str(size)
        if self.json is not None:
            headers["content-type"] = "application/json"
        return headers

    def encoded_json(self) -> bytes | None:
        """Return the JSON body, if there is one."""
        return None if self.json is None else msgspec.json.encode(self.json)


def check(response: httpx.Response) -> None:
    """Raise the problem in a response, if it is one. The body has been read.

    Raises:
        ServiceError: The response is a problem.
        ConnectionFailed: The response is malformed.
    """
    if response.is_success:
        return
    document: Any = {}
    if "json" in response.headers.get("content-type", ""):
        try:
            document = response.json()
        except ValueError as error:
            raise ConnectionFailed(f"The response is malformed: {error}") from error
    raise ServiceError(response.status_code, document if isinstance(document, dict) else {})


def read_as(type_: type[T]) -> Callable[[httpx.Response], T]:
    """Return a parser for a JSON response."""
    return lambda response: msgspec.json.decode(response.content, type=type_)


def read_lines(type_: type[T]) -> Callable[[httpx.Response], list[T]]:
    """Return a parser for a response of JSON lines."""
    return lambda response: [msgspec.json.decode(line, type=type_) for line in response.content.splitlines() if line]


def read_nothing(response: httpx.Response) -> None:
    """Parse a response without a body."""


def read_bytes(response: httpx.Response) -> bytes:
    """Return the body of a response."""
    return response.content


def put(
    source: Source,
    filename: str | None = None,
    *,
    visibility: str | None = None,
    expires: str | date | None = None,
    labels: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    ticket: str | None = None,
    damaged: str | None = None,
) -> Call[Image]:
    """Return the request to store an image."""
    params = [("label", label) for label in labels]
    if visibility:
        params.append(("visibility", visibility))
    if expires:
        params.append(("expires", text_of(expires)))
    if metadata:
        params.append(("metadata", msgspec.json.encode(dict(metadata)).decode()))
    if damaged:
        params.append(("damaged", damaged))
    if ticket:
        params.append(("ticket", ticket))
    headers = {"accept": "application/json", "idempotency-key": str(uuid.uuid4())}
    again = ticket is None  # a ticket is used up even if the response gets lost
    if isinstance(source, str) and source.startswith(_FETCHED):
        return Call("PUT", "/storage/", read_as(Image), [*params, ("url", source)], headers=headers, repeatable=again)
    name = filename or _name_of(source)
    headers["content-type"] = "application/octet-stream"
    path = f"/storage/{quote(name, safe='')}" if name else "/storage/"
    return Call("PUT", path, read_as(Image), params, body=Body.of(source), headers=headers, repeatable=again)


def info(reference: str) -> Call[Image]:
    """Return the request for the description of an image."""
    return Call("GET", f"{_at(reference)}/info", read_as(Image))


def page(filters: Mapping[str, Any], cursor: str | None, limit: int | None) -> Call[Page]:
    """Return the request for a page of the list of images."""
    params = []
    for name, value in filters.items():
        if name == "labels":
            params += [("label", label) for label in value]
        elif value is not None:
            params.append((name, text_of(value)))
    if cursor:
        params.append(("cursor", cursor))
    params.append(("limit", str(min(limit or _LISTED_AT_ONCE, _LISTED_AT_ONCE))))
    return Call("GET", "/storage/", read_as(Page), params)


def change(reference: str, values: Mapping[str, Any]) -> Call[Image]:
    """Return the request to change properties of an image."""
    body = {name: text_of(value) if isinstance(value, date) else value for name, value in values.items()}
    return Call("PATCH", _at(reference), read_as(Image), json=body)


def delete(reference: str, *, permanently: bool) -> Call[None]:
    """Return the request to delete an image."""
    params = [("permanently", "true")] if permanently else []
    return Call("DELETE", _at(reference), read_nothing, params)


def undelete(reference: str) -> Call[Image]:
    """Return the request to restore a deleted image."""
    return Call("POST", f"{_at(reference)}/undelete", read_as(Image), repeatable=False)


def placeholder(reference: str) -> Call[Placeholder]:
    """Return the request for placeholders."""
    return Call("GET", f"{_at(reference)}/placeholder", read_as(Placeholder))


def palette(reference: str, colors: int) -> Call[list[Swatch]]:
    """Return the request for the dominant colours."""
    return Call("GET", f"{_at(reference)}/palette", read_as(list[Swatch]), [("colors", str(colors))])


def formats() -> Call[list[Format]]:
    """Return the request for the list of formats."""
    return Call("GET", "/formats", read_as(list[Format]))


def account() -> Call[Account]:
    """Return the request for usage and quotas of the key's owner."""
    return Call("GET", "/account", read_as(Account))


def get(reference: str, extension: str | None, transformations: Mapping[str, Any]) -> Call[bytes]:
    """Return the request for an original or a rendition."""
    return Call("GET", image_path(reference, extension), read_bytes, query_of(transformations))


def transform(source: Source, extension: str, transformations: Mapping[str, Any]) -> Call[bytes]:
    """Return the request to transform an image without storing it."""
    path, headers = f"/transform.{quote(extension)}", {"content-type": "application/octet-stream"}
    return Call("POST", path, read_bytes, query_of(transformations), body=Body.of(source), headers=headers)


def renditions(
    references: Sequence[str], extension: str, presets: Sequence[str], queries: Sequence[Mapping[str, Any]]
) -> Call[list[Rendition]]:
    """Return the request to make several renditions."""
    body = {
        "references": list(references),
        "extension": extension,
        "presets": list(presets),
        "queries": [urlencode(query_of(query)) for query in queries],
    }
    return Call("POST", "/storage/renditions", read_lines(Rendition), json=body)


def import_urls(urls: Sequence[str], options: Mapping[str, Any]) -> Call[list[Imported]]:
    """Return the request to fetch and store images."""
    body = {"urls": list(urls), **_said(options)}
    return Call("POST", "/storage/import", read_lines(Imported), json=body, repeatable=False)


def import_in_background(urls: Sequence[str], options: Mapping[str, Any]) -> Call[Begun]:
    """Return the request to fetch and store images in the background."""
    body = {"urls": list(urls), "background": True, **_said(options)}
    return Call("POST", "/storage/import", read_as(Begun), json=body, repeatable=False)


def job(id: str) -> Call[Job]:
    """Return the request for the state of a job."""
    return Call("GET", f"/jobs/{quote(id, safe='')}", read_as(Job))


def ticket(root: str, max_bytes: int, expires_in: int, options: Mapping[str, Any]) -> Call[Ticket]:
    """Return the request for an upload ticket, whose URL will start with `root`."""

    def read(response: httpx.Response) -> Ticket:
        made = read_as(Ticket)(response)
        return msgspec.structs.replace(made, url=f"{root}{made.url}")

    body = {"max_bytes": max_bytes, "expires_in": expires_in, **_said(options)}
    return Call("POST", "/tickets", read, json=body)


def sign(url: str, expires_in: int | None, method: str) -> Call[Signed]:
    """Return the request to sign a request."""
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return Call("POST", "/sign", read_as(Signed), json={"url": path, "expires_in": expires_in, "method": method})


def image_path(reference: str, extension: str | None) -> str:
    """Return the path of an original, or of a rendition in the format of an extension."""
    return f"{_at(reference)}.{quote(extension)}" if extension else _at(reference)


def image_url(root: str, reference: str, extension: str | None, transformations: Mapping[str, Any]) -> str:
    """Return the URL of an original or a rendition."""
    query = urlencode(query_of(transformations), quote_via=quote, safe="/:,!$()*;@|")
    return f"{root}{image_path(reference, extension)}" + (f"?{query}" if query else "")


def download_paths(
    target: str | os.PathLike[str], extension: str | None, transformations: Mapping[str, Any]
) -> tuple[Path, Path, str | None]:
    """Return the path of a download, its temporary file, and the extension to request."""
    path = Path(target)
    if extension is None and transformations:
        extension = path.suffix.lstrip(".") or None
    return path, path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part"), extension


def query_of(transformations: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return transformations as query parameters, without those that are None."""
    return [(name, text_of(value)) for name, value in transformations.items() if value is not None]


def text_of(value: Any) -> str:
    """Format the value of a parameter for the HTTP API."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(map(text_of, value))
    return f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _at(reference: str) -> str:
    return f"/storage/{quote(reference, safe='')}"


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: text_of(v) if isinstance(v, date) else v for name, v in options.items() if v is not None}


def _is_file(source: object) -> bool:
    return hasattr(source, "read")


def _name_of(source: Source) -> str | None:
    if isinstance(source, bytes):
        return None
    name = getattr(source, "name", None) if _is_file(source) else source
    return Path(name).name if isinstance(name, str | os.PathLike) else None
