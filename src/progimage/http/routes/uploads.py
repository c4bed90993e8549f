"""The paths that store images: uploads, by their bytes or by their URLs, and the tickets that allow one."""

import uuid
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import urlencode

import msgspec
from litestar import Response, post, put
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from progimage import clock
from progimage.auth import BadSignature, Client, Principal, Scope, Signer, Ticket
from progimage.http.bodies import URL, receive, unless_disconnected
from progimage.http.middleware.cors import TICKET
from progimage.http.params import query_of, refuse_query
from progimage.http.permission import AnyRequest, client_of, require
from progimage.http.responses.streams import NDJSON, Result, Streamed, as_ndjson, results
from progimage.images.ingest import Ingest
from progimage.images.library import ImageLibrary, Options
from progimage.images.options import (
    UPLOAD_OPTIONS,
    check_range,
    checked_labels,
    damaged,
    expiry,
    metadata,
    upload_options,
)
from progimage.jobs import JobQueue, new_job_id
from progimage.problems import Problem
from progimage.schemas import (
    BegunDocument,
    ImageRecord,
    ImportWanted,
    OwnImageRecord,
    TicketDocument,
    TicketWanted,
    date_text,
    problems,
    response,
)
from progimage.settings import Settings
from progimage.storage import Record

IDEMPOTENCY_KEY = "Idempotency-Key"
_LONGEST_TICKET = 7 * 24 * 3600
_SMALL_BODY = 1024 * 1024
_DESCRIPTION = (
    "The body is an image, or a multipart form with one or more fields `data`, which are stored all or none. The answer"
    " is the reference, as plain text with no newline; several are one a line. With `Accept: application/json` it is"
    " the record, or a list of records; without the scope `read`, as with a ticket, only what everybody is told. As"
    " parameters or fields of the form: `visibility` (public, signed, key), `expires` (a date, or a duration such as"
    " 30d), `label` (several), `metadata` (a JSON object of texts), `damaged` (accept: an image that has lost pixels is"
    " kept as far as it can be decoded, with a warning; else it is refused), and, where that is allowed, `url`: from"
    " where the image is fetched. A `ticket` lets in whoever has no key, once. With an `Idempotency-Key`, a random"
    " UUID, a request that is sent again, because its answer was lost, is answered with what the first one stored."
)


@put(
    ["/storage", "/storage/{reference:str}"],
    tags=["storage"],
    summary="Upload images",
    description=f"{_DESCRIPTION} A name after `/storage/` is only the file's name, as `curl -T` adds it.",
    responses={
        200: response(str, "The references, one a line.", "text/plain"),
        **problems(400, 401, 403, 405, 408, 409, 413, 422, 429, 503),
    },
    status_code=200,
)
async def upload(request: AnyRequest, state: State, reference: str | None = None) -> Response[Any]:
    """Store the images of the body; what follows the path is the name of a file, never a reference."""
    if reference is not None and _is_uuid(reference):
        raise Problem(
            405, "method-not-allowed", "A stored image never changes.", headers={"allow": "GET, HEAD, PATCH, DELETE"}
        )
    return await _upload(request, state, reference)


@post(
    "/storage",
    tags=["storage"],
    summary="Upload images",
    description=f"The same as PUT, for HTML forms. {_DESCRIPTION}",
    responses={
        200: response(str, "The references, one a line.", "text/plain"),
        **problems(400, 401, 403, 408, 409, 413, 422, 429, 503),
    },
    status_code=200,
)
async def upload_form(request: AnyRequest, state: State) -> Response[Any]:
    """Store the images of the body."""
    return await _upload(request, state, None)


@post(
    "/storage/import",
    tags=["storage"],
    summary="Upload by a list of URLs",
    description="Each URL is fetched and stored by itself. The answer is a stream of JSON lines, one for each, with its"
    " `reference` or its `problem`, in the order of the list. With `background`, the answer is 202 and the job that"
    " does so; it goes on whatever becomes of this connection, and of the node that answered.",
    responses={
        200: response(bytes, "The results.", NDJSON),
        202: response(BegunDocument, "The job."),
        **problems(400, 401, 403, 413, 429),
    },
    status_code=200,
    request_max_body_size=_SMALL_BODY,
)
async def import_list(request: AnyRequest, state: State, data: ImportWanted) -> ASGIApp:
    """Answer a stream of results, or which job makes them."""
    client = require(request, Scope.UPLOAD)
    refuse_query(query_of(request))
    settings: Settings = state.settings
    if not 0 < len(data.urls) <= settings.max_batch:
        raise Problem(
            413 if data.urls else 400, "too-many-urls" if data.urls else "invalid-parameter",
            "There are too many URLs, or none.", parameter="urls", given=len(data.urls),
            allowed=f"1 to {settings.max_batch} URLs",
        )  # fmt: skip
    options = Options(
        data.visibility,
        expiry(data.expires) if data.expires is not None else None,
        checked_labels(data.labels),
        metadata(data.metadata),
        damaged(data.damaged),
    )
    if data.background:
        return await _import_in_background(state, client, data.urls, options)
    works = [({"url": url}, partial(_import, state, client, url, options)) for url in data.urls]
    items = results(works, state.library.renderer.pool.workers)
    return Streamed(as_ndjson(items, lambda result: result.document), NDJSON, ExitStack())


@post(
    "/tickets",
    tags=["access"],
    summary="Make an upload ticket",
    description="Whoever has the ticket's URL, a browser say, can upload there once, without a key: one request, up to"
    " `max_bytes`, within `expires_in` seconds. What the ticket says of the images is settled.",
    responses=problems(400, 401, 403, 429),
    status_code=201,
    request_max_body_size=_SMALL_BODY,
)
async def make_ticket(request: AnyRequest, state: State, data: TicketWanted) -> TicketDocument:
    """Answer a new ticket for the owner of the key."""
    client = require(request, Scope.UPLOAD)
    refuse_query(query_of(request))
    signer = signer_of(state)
    settings: Settings = state.settings
    check_range("max_bytes", data.max_bytes, 1, settings.max_upload_bytes * settings.max_upload_parts)
    check_range("expires_in", data.expires_in, 1, _LONGEST_TICKET)
    now = clock.now()
    ticket = Ticket(
        str(uuid.uuid4()),
        client.principal.owner,
        client.principal.key_id,
        data.max_bytes,
        int(now) + data.expires_in,
        data.visibility,
        round(expiry(data.expires) - now) if data.expires is not None else None,
        checked_labels(data.labels),
        metadata(data.metadata),
        damaged(data.damaged),
    )
    url = f"/storage/?{urlencode({TICKET: signer.issue(ticket)})}"
    return TicketDocument(url, date_text(ticket.until) or "", ticket.max_bytes)


def signer_of(state: State) -> Signer:
    """Return what signs requests and tickets.

    Raises:
        Problem: There is no signing key.
    """
    signer: Signer = state.signer
    if not signer.can_sign:
        raise Problem(403, "no-signing-key", "This deployment has no signing key, so that nothing can be signed.")
    return signer


async def _upload(request: AnyRequest, state: State, filename: str | None) -> Response[Any]:
    library: ImageLibrary = state.library
    query = query_of(request)
    key = _idempotency_key(request)
    ticket = await _ticket(state, query, key)
    if ticket:
        refuse_query(query, (TICKET,), "The ticket has settled that.")
        principal = Principal(ticket.owner, frozenset((Scope.UPLOAD,)), ticket.key_id)
        client = Client(principal, client_of(request).address)
    else:
        client = require(request, Scope.UPLOAD)
        refuse_query(query, (*UPLOAD_OPTIONS, URL))
    options = _options_of(ticket) if ticket else upload_options(pair for pair in query if pair[0] != URL)
    owner = None
    if not await _was_stored(library, key, client.principal.owner):  # else it has been counted already
        owner = await library.catalogue.owners.get(client.principal.owner)
        library.catalogue.owners.admit(owner, 1, 0)
    urls = [value for name, value in query if name == URL]
    ingest: Ingest = state.ingest
    with ExitStack() as files:
        share = ingest.share(files, client, owner)
        if urls:
            uploads = []
        else:
            texts = () if ticket else (*UPLOAD_OPTIONS, URL)
            most = ticket.max_bytes if ticket else None
            received = await receive(ingest, request, files, share, filename, texts=texts, most=most)
            uploads = received.uploads
            urls = [value for name, value in received.texts if name == URL]
            own = [pair for pair in received.texts if pair[0] != URL]
            if own:
                options = upload_options([*(pair for pair in query if pair[0] != URL), *own])
        _check_count(len(uploads) + len(urls), state.settings)
        for url in urls:
            uploads.append(await unless_disconnected(request.receive, ingest.fetch(url, client, files, share)))
        async with state.rates.rendering(client):
            work = library.add(client, uploads, options, ticket, _references(key, client.principal.owner, len(uploads)))
            records = await unless_disconnected(request.receive, work)
    if _prefers_json(request):
        documents = [_told(state, client, record) for record in records]
        return Response(documents if len(documents) > 1 else documents[0], media_type=MediaType.JSON, status_code=200)
    text = "\n".join(record.reference for record in records)
    return Response(text, media_type=MediaType.TEXT, status_code=200)


def _told(state: State, client: Client, record: Record) -> ImageRecord:
    """Return what a client is told of its upload: if it may not read, nothing that others may have said since."""
    if client.principal.may(Scope.READ):
        return OwnImageRecord.of_own(record, state.settings.visibility)
    return ImageRecord.of(record)


async def _ticket(state: State, query: list[tuple[str, str]], key: uuid.UUID | None) -> Ticket | None:
    """Return the ticket that a request has, if it has one.

    A ticket that was used is still good for the upload that used it, sent again with its Idempotency-Key.

    Args:
        state: Of the application.
        query: The request's.
        key: Its Idempotency-Key.

    Raises:
        Problem: It is not valid.
    """
    given = [value for name, value in query if name == TICKET]
    if not given:
        return None
    library: ImageLibrary = state.library
    signer: Signer = state.signer
    try:
        if len(given) > 1:
            raise BadSignature("There are two tickets.")
        ticket = signer.redeem(given[0])
        made_with = await library.catalogue.keys.get(ticket.key_id) if ticket.key_id else None
        if ticket.key_id and not (made_with and made_with.is_active):
            raise BadSignature("The key that the ticket was made with is not valid any more.")
        if await library.records.is_used(ticket.id) and not await _was_stored(library, key, ticket.owner):
            raise BadSignature("The ticket has been used.")
    except BadSignature as error:
        raise Problem(403, "bad-ticket", str(error), parameter=TICKET) from None
    return ticket


def _idempotency_key(request: AnyRequest) -> uuid.UUID | None:
    """Return what tells a request that is sent again from a new one.

    Raises:
        Problem: It is no UUID, or there are two.
    """
    given = request.headers.getall(IDEMPOTENCY_KEY, [])
    if not given:
        return None
    if len(given) > 1 or not _is_uuid(given[0]):
        raise Problem(
            400, "invalid-parameter", "The key is not random enough, or there are two.", parameter=IDEMPOTENCY_KEY,
            given=", ".join(given)[:100], allowed="a random UUID",
        )  # fmt: skip
    return uuid.UUID(given[0])


def _references(key: uuid.UUID | None, owner: str, count: int) -> list[str] | None:
    """Return the references that the images of a request get, each time that it is sent."""
    if key is None:
        return None
    return [str(uuid.uuid5(key, f"{owner} {number}")) for number in range(count)]


async def _was_stored(library: ImageLibrary, key: uuid.UUID | None, owner: str) -> bool:
    """Return whether an upload with an Idempotency-Key was stored before."""
    references = _references(key, owner, 1)
    return references is not None and bool(await library.records.among(references))


def _options_of(ticket: Ticket) -> Options:
    expires_at = clock.now() + ticket.lifetime if ticket.lifetime is not None else None
    return Options(ticket.visibility, expires_at, ticket.labels, ticket.metadata or {}, ticket.damaged)


def _check_count(count: int, settings: Settings) -> None:
    if count > settings.max_upload_parts:
        raise Problem(
            413, "too-many-parts", "There are too many images.", parameter="data", given=count,
            allowed=settings.max_upload_parts,
        )  # fmt: skip


async def _import_in_background(state: State, client: Client, urls: list[str], options: Options) -> ASGIApp:
    state.ingest.require_fetching(urls[0])
    jobs: JobQueue = state.jobs
    id, references = new_job_id("import"), [str(uuid.uuid4()) for _ in urls]
    common = {
        "owner": client.principal.owner,
        "scopes": sorted(client.principal.scopes),
        "key_id": client.principal.key_id,
        "address": client.address,
        "visibility": options.visibility,
        "expires_at": options.expires_at,
        "labels": list(options.labels),
        "metadata": options.metadata,
        "damaged": options.damaged,
    }
    parts = [{"url": url, "reference": reference, **common} for url, reference in zip(urls, references, strict=True)]
    await jobs.put_parts("import", id, client.principal.owner, parts)
    where = f"/jobs/{id}"
    body = msgspec.json.encode(BegunDocument(id, where, references))
    return ASGIResponse(body=body, status_code=202, media_type=MediaType.JSON, headers={"location": where})


async def _import(state: State, client: Client, url: str, options: Options) -> Result:
    library: ImageLibrary = state.library
    ingest: Ingest = state.ingest
    with ExitStack() as files:
        owner = await library.catalogue.owners.get(client.principal.owner)
        fetched = await ingest.fetch(url, client, files, ingest.share(files, client, owner))
        async with state.rates.rendering(client):
            (record,) = await library.add(client, [fetched], options)
    return Result({"reference": record.reference, "bytes": record.blob.bytes, "format": record.blob.info.format})


def _prefers_json(request: AnyRequest) -> bool:
    return request.accept.best_match(["text/plain", "application/json"]) == "application/json"


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
