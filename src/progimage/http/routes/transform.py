"""The routes that describe or transform images without storing them."""

import base64
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from litestar import Response, post, route
from litestar.enums import MediaType
from litestar.types import ASGIApp, Method

from progimage.auth import Caller, Scope
from progimage.engine import FORMATS, RenditionSpec
from progimage.http.basis import basis_of
from progimage.http.bodies import receive, unless_disconnected
from progimage.http.params import ANY_QUERY, DOWNLOAD, query_of, refuse_query, transformations_of, verified_query
from progimage.http.permission import AnyRequest, caller_of, check_other_images, require, requires
from progimage.http.responses.representation import disposition, file_chunks
from progimage.http.responses.streams import ZIP, Result, StreamedResponse, as_ndjson, as_zip, preferred, results
from progimage.http.state import ServiceState
from progimage.images.ingest import clean_filename
from progimage.images.library import Upload
from progimage.images.options import DAMAGED, asked_damaged
from progimage.images.requests import AUTO, ImageName, RenditionRequest, parsed, refuse_repeated, spec_of
from progimage.problems import Problem
from progimage.schemas import InspectedImage, problems

TRANSFORM = "transform"
_FALLBACK = "PNG"
_METHODS: tuple[Method, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@post(
    "/info",
    tags=["transform"],
    summary="Describe an image that is not stored",
    description="Returns the metadata of an image. The body is an image, or a multipart form with one field `data`."
    " With `damaged=accept`, images that have lost pixels are described, too.",
    responses=problems(400, 401, 403, 408, 413, 422, 429, 503),
    status_code=200,
    opt=ANY_QUERY,
    guards=[requires(Scope.TRANSFORM)],
)
async def describe(request: AnyRequest, caller: Caller, state: ServiceState) -> Response[InspectedImage]:
    """Describe the image in the body."""
    query = query_of(request)
    refuse_query(query, (DAMAGED,))
    accepted = asked_damaged(query)
    with ExitStack() as files:
        upload = _only(await _received(request, state, files))
        async with state.rates.rendering(caller):
            work = state.library.renderer.inspect(upload.path, caller, damaged=accepted)
            info = await unless_disconnected(request.receive, work)
        return Response(InspectedImage.of(info, upload.bytes), media_type=MediaType.JSON)


# Litestar's path parameters are whole segments, so the route of `transform.{extension}` matches every other name, too.
@route("/{name:str}", http_method=_METHODS, include_in_schema=False, status_code=200, opt=ANY_QUERY)
async def transform(request: AnyRequest, state: ServiceState, name: str) -> ASGIApp:
    """Respond with the images in the body, transformed, at `/transform` and `/transform.{extension}`."""
    asked_for = ImageName.parse(name)
    if asked_for.reference != TRANSFORM:
        raise Problem(404, "not-found", "No such path.")
    if request.method != "POST":
        raise Problem(405, "method-not-allowed", "This path only supports POST.", headers={"allow": "POST"})
    extension = asked_for.extension
    request.scope["path_template"] = f"/{TRANSFORM}" if extension is None else f"/{TRANSFORM}.{{extension}}"
    query = await verified_query(request, state)
    if not basis_of(request.scope).is_signed:
        require(request, Scope.TRANSFORM)
    refuse_repeated([pair for pair in query if pair[0] == DAMAGED])
    damaged, query = asked_damaged(query), [pair for pair in query if pair[0] != DAMAGED]
    asked = transformations_of(request, state, query)
    spec = None if extension is None else parsed(extension, asked)  # before the body is read
    files = ExitStack()
    try:
        uploads = await _received(request, state, files)
        wanted = _Transformation(request, state, asked, extension, spec, damaged=damaged)
        if len(uploads) > 1:
            return _several(wanted, uploads, files)
        result = await unless_disconnected(request.receive, wanted.transformed(uploads[0], 1))
        files.enter_context(result.files)
    except BaseException:
        files.close()
        raise
    return _one(wanted, result, files)


class _Transformation:
    """The transformation that a request asks for, of each of its images."""

    def __init__(
        self,
        request: AnyRequest,
        state: ServiceState,
        asked: RenditionRequest,
        extension: str | None,
        spec: RenditionSpec | None,
        *,
        damaged: bool,
    ) -> None:
        self.request = request
        self._state = state
        self._damaged = damaged
        self.library = state.library
        self.asked = asked
        self.extension = extension
        self._fixed = None if extension == AUTO else spec  # otherwise the format depends on the image
        self._settings = state.settings

    async def transformed(self, upload: Upload, number: int) -> Result:
        with ExitStack() as files:
            spec = await self._spec(upload)
            await self._check_others(spec)
            target = files.enter_context(self.library.renderer.scratch.file(self.library.renderer.scratch.outgoing))
            caller = caller_of(self.request)
            async with self._state.rates.rendering(caller):
                rendered = await self.library.renderer.transform(
                    upload.path, spec, target, caller, damaged=self._damaged
                )
            await self._check_others(spec)  # permissions may have changed in the meantime
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
        await check_other_images(self.request, self._state, spec, self.asked.droppable)

    async def _spec(self, upload: Upload) -> RenditionSpec:
        if self._fixed:
            return self._fixed
        info = await self.library.renderer.inspect(upload.path, caller_of(self.request), damaged=self._damaged)
        if self.extension == AUTO:
            return spec_of(AUTO, self.asked, info, self.request.headers.get("accept", ""), self._settings.auto_formats)
        own = info.format if FORMATS[info.format].can_write else _FALLBACK
        return RenditionSpec.parse(own, self.asked.query, drop_unfit=self.asked.droppable)


def _one(wanted: _Transformation, result: Result, files: ExitStack) -> ASGIApp:
    assert result.path is not None
    headers = [(b"content-length", str(result.document["bytes"]).encode())]
    if wanted.extension == AUTO:
        headers.append((b"vary", b"Accept"))
    name = next((value for key, value in query_of(wanted.request) if key == DOWNLOAD), None)
    if name is not None:
        name = clean_filename(name) or result.name.partition("-")[2]
        headers.append((b"content-disposition", disposition(name).encode("latin-1")))
    return StreamedResponse(
        file_chunks(result.path, 0, result.document["bytes"]), result.document["media_type"], files, tuple(headers)
    )


def _several(wanted: _Transformation, uploads: list[Upload], files: ExitStack) -> ASGIApp:
    kind = preferred(wanted.request, ZIP)
    works = [
        ({"number": number, "filename": upload.filename}, lambda u=upload, n=number: wanted.transformed(u, n))
        for number, upload in enumerate(uploads, 1)
    ]
    items = results(works, wanted.library.renderer.pool.workers)
    chunks = as_zip(items) if kind == ZIP else as_ndjson(items, _with_bytes)
    return StreamedResponse(chunks, kind, files)


def _with_bytes(result: Result) -> dict[str, Any]:
    if result.path is None:
        return result.document
    return {**result.document, "data": base64.b64encode(result.path.read_bytes()).decode()}


async def _received(request: AnyRequest, state: ServiceState, files: ExitStack) -> list[Upload]:
    share = state.ingest.share(files, caller_of(request))
    return (await receive(state.ingest, request, files, share, hashed=False)).uploads


def _only(uploads: list[Upload]) -> Upload:
    if len(uploads) > 1:
        raise Problem(400, "too-many-images", "Too many images.", parameter="data", given=len(uploads), allowed=1)
    return uploads[0]
