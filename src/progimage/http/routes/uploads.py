"""The routes that store images: uploads of files or from URLs."""

import uuid
from contextlib import ExitStack
from functools import partial
from typing import Any

import msgspec
from litestar import Response, post, put
from litestar.enums import MediaType
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from progimage import clock
from progimage.auth import Caller, Principal, Scope, Ticket
from progimage.engine.values import is_reference
from progimage.http.bodies import LARGE_BODY, URL, receive, unless_disconnected
from progimage.http.idempotency import IdempotencyKey
from progimage.http.middleware.cors import TICKET
from progimage.http.params import ANY_QUERY, query_of, refuse_query
from progimage.http.permission import AnyRequest, caller_of, require, requires
from progimage.http.responses.streams import NDJSON, Result, StreamedResponse, as_ndjson, results
from progimage.http.routes.tickets import redeemed_ticket
from progimage.http.state import ServiceState
from progimage.images.library import Upload, UploadOptions
from progimage.images.options import (
    UPLOAD_OPTIONS,
    checked_labels,
    damaged,
    expiry,
    metadata,
    upload_options,
)
from progimage.images.requests import Query
from progimage.jobs import new_job_id
from progimage.problems import Problem
from progimage.schemas import (
    BegunDocument,
    ImageRecord,
    ImportWanted,
    OwnImageRecord,
    problems,
    response,
)
from progimage.settings import Settings
from progimage.storage import Record, Share

_DESCRIPTION = (
    "The body is an image, or a multipart form with one or more fields `data`. If one of several images is rejected,"
    " none is stored.\n\n"
    "- **Response.** The reference as plain text without a newline, or several references, one per line. With"
    " `Accept: application/json`, the record or a list of records. Without the scope `read`, and with a ticket, records"
    " have only the public members.\n"
    "- **Options.** The parameters below, except `ticket`, can also be fields of the form. `url` works only if"
    " the service allows uploads by URL. With `damaged=accept`, an image that has lost pixels is stored with a warning;"
    " by default it is rejected.\n"
    "- **Tickets.** A `ticket` allows one upload without an API key.\n"
    "- **Retries.** Send a random UUID in the header field `Idempotency-Key`. If the response is lost, repeat the"
    " request with the same key: it returns the result of the first one."
)


@put(
    ["/storage", "/storage/{reference:str}"],
    tags=["storage"],
    summary="Upload images",
    description=f"{_DESCRIPTION}\n"
    "- **File name.** A name after `/storage/`, as added by `curl -T`, only sets the file name.",
    responses={
        200: response(str, "The references, one per line.", "text/plain"),
        **problems(400, 401, 403, 405, 408, 409, 413, 422, 429, 503),
    },
    status_code=200,
    opt=ANY_QUERY,
)
async def upload(request: AnyRequest, state: ServiceState, reference: str | None = None) -> Response[Any]:
    """Store the images in the body; the last path segment, if any, is a file name, never a reference."""
    if reference is not None and is_reference(reference.lower()):
        raise Problem(
            405, "method-not-allowed", "Stored images can't be replaced. Upload the new image to /storage/.",
            headers={"allow": "GET, HEAD, PATCH, DELETE"},
        )  # fmt: skip
    return await _upload(request, state, reference)


@post(
    "/storage",
    tags=["storage"],
    summary="Upload images",
    description=f"The same as `PUT`, for HTML forms. {_DESCRIPTION}",
    responses={
        200: response(str, "The references, one per line.", "text/plain"),
        **problems(400, 401, 403, 408, 409, 413, 422, 429, 503),
    },
    status_code=200,
    opt=ANY_QUERY,
)
async def upload_form(request: AnyRequest, state: ServiceState) -> Response[Any]:
    """Store the images in the body."""
    return await _upload(request, state, None)


@post(
    "/storage/import",
    tags=["storage"],
    summary="Upload a list of URLs",
    description="Each URL is fetched and stored independently. The response is a stream of JSON lines in the order of"
    " the list, each with a `reference` or a `problem`.\n\n"
    "With `background`, the response is 202 with a job. The job continues even if the connection or the node fails.",
    responses={
        200: response(bytes, "The results.", NDJSON),
        202: response(BegunDocument, "The job."),
        **problems(400, 401, 403, 413, 429),
    },
    status_code=200,
    request_max_body_size=LARGE_BODY,
    guards=[requires(Scope.UPLOAD)],
)
async def import_list(caller: Caller, state: ServiceState, data: ImportWanted) -> ASGIApp:
    """Respond with a stream of results, or with a job that fetches the images."""
    settings = state.settings
    if not 0 < len(data.urls) <= settings.max_batch:
        raise Problem(
            413 if data.urls else 400, "too-many-urls" if data.urls else "invalid-parameter",
            "Too many URLs." if data.urls else "The list of URLs is empty.", parameter="urls", given=len(data.urls),
            allowed=f"1 to {settings.max_batch} URLs",
        )  # fmt: skip
    options = UploadOptions(
        data.visibility,
        expiry(data.expires) if data.expires is not None else None,
        checked_labels(data.labels),
        metadata(data.metadata),
        damaged(data.damaged),
    )
    if data.background:
        return await _import_in_background(state, caller, data.urls, options)
    works = [({"url": url}, partial(_import, state, caller, url, options)) for url in data.urls]
    items = results(works, state.library.renderer.pool.workers)
    return StreamedResponse(as_ndjson(items, lambda result: result.document), NDJSON, ExitStack())


async def _upload(request: AnyRequest, state: ServiceState, filename: str | None) -> Response[Any]:
    query, key = query_of(request), IdempotencyKey.of(request)
    ticket = await redeemed_ticket(state, query, key)
    if ticket:
        refuse_query(query, (TICKET,), "The ticket sets the options of the upload.")
        principal = Principal(ticket.owner, frozenset((Scope.UPLOAD,)), ticket.key_id)
        caller = Caller(principal, caller_of(request).address)
    else:
        caller = require(request, Scope.UPLOAD)
        refuse_query(query, (*UPLOAD_OPTIONS, URL))
    owner = None
    if not await key.was_used(state.library, caller.principal.owner):  # otherwise the images are already counted
        owner = await state.library.catalogue.owners.get(caller.principal.owner)
        state.library.catalogue.owners.admit(owner, 1, 0)
    with ExitStack() as files:
        share = state.ingest.share(files, caller, owner)
        uploads, pairs = await _received(request, state, files, share, filename, query, ticket)
        urls = [value for name, value in pairs if name == URL]
        options = _options_of(ticket) if ticket else upload_options(pair for pair in pairs if pair[0] != URL)
        _check_count(len(uploads) + len(urls), state.settings)
        for url in urls:
            fetching = state.ingest.fetch(url, caller, files, share)
            uploads.append(await unless_disconnected(request.receive, fetching))
        references = key.references(caller.principal.owner, len(uploads))
        async with state.rates.rendering(caller):
            adding = state.library.add(caller, uploads, options, ticket, references)
            records = await unless_disconnected(request.receive, adding)
    if _prefers_json(request):
        documents = [_document(state, caller, record) for record in records]
        return Response(documents if len(documents) > 1 else documents[0], media_type=MediaType.JSON, status_code=200)
    text = "\n".join(record.reference for record in records)
    return Response(text, media_type=MediaType.TEXT, status_code=200)


async def _received(
    request: AnyRequest,
    state: ServiceState,
    files: ExitStack,
    share: Share,
    filename: str | None,
    query: Query,
    ticket: Ticket | None,
) -> tuple[list[Upload], Query]:
    """Return the images in the body, and the options and URLs in the query and the form."""
    if any(name == URL for name, _ in query):
        return [], query
    if not ticket:
        upload_options(query)  # errors are found before the body is read
    texts = () if ticket else (*UPLOAD_OPTIONS, URL)
    limit = ticket.max_bytes if ticket else None
    received = await receive(state.ingest, request, files, share, filename, texts=texts, max_bytes=limit)
    return received.uploads, [*query, *received.texts]


def _document(state: ServiceState, caller: Caller, record: Record) -> ImageRecord:
    """Describe an upload; without the scope `read`, only by the members that never change."""
    if caller.principal.may(Scope.READ):
        return OwnImageRecord.of_own(record, state.settings.visibility)
    return ImageRecord.of(record)


def _options_of(ticket: Ticket) -> UploadOptions:
    expires_at = clock.now() + ticket.lifetime if ticket.lifetime is not None else None
    return UploadOptions(ticket.visibility, expires_at, ticket.labels, ticket.metadata or {}, ticket.damaged)


def _check_count(count: int, settings: Settings) -> None:
    if count > settings.max_upload_parts:
        raise Problem(
            413, "too-many-parts", "Too many images.", parameter="data", given=count,
            allowed=settings.max_upload_parts,
        )  # fmt: skip


async def _import_in_background(
    state: ServiceState, caller: Caller, urls: list[str], options: UploadOptions
) -> ASGIApp:
    state.ingest.require_fetching(urls[0])
    id, references = new_job_id("import"), [str(uuid.uuid4()) for _ in urls]
    common = {
        "owner": caller.principal.owner,
        "scopes": sorted(caller.principal.scopes),
        "key_id": caller.principal.key_id,
        "address": caller.address,
        "visibility": options.visibility,
        "expires_at": options.expires_at,
        "labels": list(options.labels),
        "metadata": options.metadata,
        "damaged": options.damaged,
    }
    parts = [{"url": url, "reference": reference, **common} for url, reference in zip(urls, references, strict=True)]
    await state.jobs.put_parts("import", id, caller.principal.owner, parts)
    where = f"/jobs/{id}"
    body = msgspec.json.encode(BegunDocument(id, where, references))
    return ASGIResponse(body=body, status_code=202, media_type=MediaType.JSON, headers={"location": where})


async def _import(state: ServiceState, caller: Caller, url: str, options: UploadOptions) -> Result:
    with ExitStack() as files:
        owner = await state.library.catalogue.owners.get(caller.principal.owner)
        share = state.ingest.share(files, caller, owner)
        fetched = await state.ingest.fetch(url, caller, files, share)
        async with state.rates.rendering(caller):
            (record,) = await state.library.add(caller, [fetched], options)
    return Result({"reference": record.reference, "bytes": record.blob.bytes, "format": record.blob.info.format})


def _prefers_json(request: AnyRequest) -> bool:
    return request.accept.best_match(["text/plain", "application/json"]) == "application/json"
