"""The paths that look at or transform an image without storing it."""

import base64
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from litestar import Response, post, route
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.types import ASGIApp, Method

from progimage.auth import Scope
from progimage.engine import FORMATS, RenditionSpec
from progimage.http.bodies import receive, unless_disconnected
from progimage.http.params import DOWNLOAD, query_of, refuse_query, transformations_of, verified_query
from progimage.http.permission import AnyRequest, client_of, other_images, require
from progimage.http.responses.representation import disposition, file_chunks
from progimage.http.responses.streams import ZIP, Result, Streamed, as_ndjson, as_zip, preferred, results
from progimage.images.ingest import Ingest, clean_filename
from progimage.images.library import ImageLibrary, Upload
from progimage.images.options import DAMAGED, asked_damaged
from progimage.images.requests import AUTO, RenditionRequest, parsed, refuse_repeated, spec_of
from progimage.problems import Problem
from progimage.schemas import InspectedImage, problems

TRANSFORM = "transform"
_FALLBACK = "PNG"
_METHODS: tuple[Method, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@post(
    "/info",
    tags=["transform"],
    summary="Describe an image that is not stored",
    description="The body is an image, or a multipart form with one field `data`. With `damaged=accept`, an image that"
    " has lost pixels is described, too.",
    responses=problems(400, 401, 403, 408, 413, 422, 429, 503),
    status_code=200,
)
async def describe(request: AnyRequest, state: State) -> Response[InspectedImage]:
    """Answer what the image of the body is like."""
    client = require(request, Scope.TRANSFORM)
    query = query_of(request)
    refuse_query(query, (DAMAGED,))
    accepted = asked_damaged(query)
    library: ImageLibrary = state.library
    with ExitStack() as files:
        upload = _only(await _received(request, state, files))
        async with state.rates.rendering(client):
            work = library.renderer.inspect(upload.path, client, damaged=accepted)
            info = await unless_disconnected(request.receive, work)
        return Response(InspectedImage.of(info, upload.bytes), media_type=MediaType.JSON)


# No part of a path can be a parameter, only all that is between two slashes; so this one takes whatever is not another
# path of ours.
@route("/{name:str}", http_method=_METHODS, include_in_schema=False, status_code=200)
async def transform(request: AnyRequest, state: State, name: str) -> ASGIApp:
    """Answer the images of the body transformed, at `/transform` and `/transform.{extension}`."""
    path, dot, extension = name.partition(".")
    if path != TRANSFORM:
        raise Problem(404, "not-found", "There is nothing at this path.")
    if request.method != "POST":
        raise Problem(405, "method-not-allowed", "This path does not take this method.", headers={"allow": "POST"})
    request.scope["path_template"] = f"/{TRANSFORM}.{{extension}}" if dot else f"/{TRANSFORM}"  # for the metrics
    query, signed = await verified_query(request, state)
    if not signed:
        require(request, Scope.TRANSFORM)
    refuse_repeated([pair for pair in query if pair[0] == DAMAGED])
    accepted, query = asked_damaged(query), [pair for pair in query if pair[0] != DAMAGED]
    asked, extension = transformations_of(request, state, query, signed=signed), extension.lower()
    spec = parsed(extension, asked) if dot else None  # before the body is waited for
    files = ExitStack()
    try:
        uploads = await _received(request, state, files)
        wanted = _Wanted(request, state, asked, extension if dot else None, spec, signed=signed, damaged=accepted)
        if len(uploads) > 1:
            return _several(wanted, uploads, files)
        result = await unless_disconnected(request.receive, wanted.transformed(uploads[0], 1))
        files.enter_context(result.files)
    except BaseException:
        files.close()
        raise
    return _one(wanted, result, files)


class _Wanted:
    """What a request wants of each of its images."""

    def __init__(
        self,
        request: AnyRequest,
        state: State,
        asked: RenditionRequest,
        extension: str | None,
        spec: RenditionSpec | None,
        *,
        signed: bool,
        damaged: bool,
    ) -> None:
        self.request = request
        self._state = state
        self._signed = signed
        self._damaged = damaged
        self.library: ImageLibrary = state.library
        self.asked = asked
        self.extension = extension
        self._fixed = None if extension == AUTO else spec  # without it, the format depends on the image
        self._settings = state.settings

    async def transformed(self, upload: Upload, number: int) -> Result:
        with ExitStack() as files:
            spec = await self._spec(upload)
            await self._check_others(spec)
            target = files.enter_context(self.library.spool.file(self.library.spool.outgoing))
            client = client_of(self.request)
            async with self._state.rates.rendering(client):
                rendered = await self.library.renderer.transform(
                    upload.path, spec, target, client, damaged=self._damaged
                )
            await self._check_others(spec)  # it may have changed while the picture was made
            format = FORMATS[spec.format]
            document = {
                "format": format.name,
                "media_type": format.media_type,
                "width": rendered.width,
                "height": rendered.height,
                "frames": rendered.frames,
                "bytes": target.stat().st_size,
            }
            stem = Path(upload.filename).stem if upload.filename else "image"
            return Result(document, target, f"{number}-{stem}.{format.extensions[0]}", files.pop_all())

    async def _check_others(self, spec: RenditionSpec) -> None:
        await other_images(self.request, self._state, spec, self.asked.droppable, signed=self._signed)

    async def _spec(self, upload: Upload) -> RenditionSpec:
        if self._fixed:
            return self._fixed
        info = await self.library.renderer.inspect(upload.path, client_of(self.request), damaged=self._damaged)
        if self.extension == AUTO:
            return spec_of(AUTO, self.asked, info, self.request.headers.get("accept", ""), self._settings.auto_formats)
        own = info.format if FORMATS[info.format].can_write else _FALLBACK
        return RenditionSpec.parse(own, self.asked.query, drop_unfit=self.asked.droppable)


def _one(wanted: _Wanted, result: Result, files: ExitStack) -> ASGIApp:
    assert result.path is not None
    headers = [(b"content-length", str(result.document["bytes"]).encode())]
    if wanted.extension == AUTO:
        headers.append((b"vary", b"Accept"))
    name = next((value for key, value in query_of(wanted.request) if key == DOWNLOAD), None)
    if name is not None:
        name = clean_filename(name) or result.name.partition("-")[2]
        headers.append((b"content-disposition", disposition(name).encode("latin-1")))
    return Streamed(
        file_chunks(result.path, 0, result.document["bytes"]), result.document["media_type"], files, tuple(headers)
    )


def _several(wanted: _Wanted, uploads: list[Upload], files: ExitStack) -> ASGIApp:
    kind = preferred(wanted.request, ZIP)
    works = [
        ({"number": number, "filename": upload.filename}, lambda u=upload, n=number: wanted.transformed(u, n))
        for number, upload in enumerate(uploads, 1)
    ]
    items = results(works, wanted.library.renderer.pool.workers)
    chunks = as_zip(items) if kind == ZIP else as_ndjson(items, _with_bytes)
    return Streamed(chunks, kind, files)


def _with_bytes(result: Result) -> dict[str, Any]:
    if result.path is None:
        return result.document
    return {**result.document, "data": base64.b64encode(result.path.read_bytes()).decode()}


async def _received(request: AnyRequest, state: State, files: ExitStack) -> list[Upload]:
    ingest: Ingest = state.ingest
    share = ingest.share(files, client_of(request))
    return (await receive(ingest, request, files, share, hashed=False)).uploads


def _only(uploads: list[Upload]) -> Upload:
    if len(uploads) > 1:
        raise Problem(
            400, "too-many-images", "There are several images.", parameter="data", given=len(uploads), allowed=1
        )
    return uploads[0]
