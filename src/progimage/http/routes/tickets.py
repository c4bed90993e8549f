"""Upload tickets: the route that issues them, and their redemption."""

import uuid
from urllib.parse import urlencode

from litestar import post

from progimage import clock
from progimage.auth import BadSignature, Caller, Scope, Ticket
from progimage.http.bodies import LARGE_BODY
from progimage.http.idempotency import IdempotencyKey
from progimage.http.middleware.cors import TICKET
from progimage.http.permission import requires
from progimage.http.routes.signatures import signer_of
from progimage.http.state import ServiceState
from progimage.images.options import check_range, checked_labels, damaged, expiry, metadata
from progimage.images.requests import Query
from progimage.problems import Problem
from progimage.schemas import TicketDocument, TicketWanted, date_text, problems

_LONGEST_SECONDS = 7 * 24 * 3600


@post(
    "/tickets",
    tags=["access"],
    summary="Create an upload ticket",
    description="Returns a URL to which anyone, for example a browser, can upload once without an API key: one request"
    " of at most `max_bytes`, within `expires_in` seconds. The upload can't override the options set by the ticket.",
    responses=problems(400, 401, 403, 429),
    status_code=201,
    request_max_body_size=LARGE_BODY,
    guards=[requires(Scope.UPLOAD)],
)
async def make_ticket(caller: Caller, state: ServiceState, data: TicketWanted) -> TicketDocument:
    """Issue a ticket for the owner of the API key."""
    signer, settings = signer_of(state), state.settings
    check_range("max_bytes", data.max_bytes, 1, settings.max_upload_bytes * settings.max_upload_parts)
    check_range("expires_in", data.expires_in, 1, _LONGEST_SECONDS)
    now = clock.now()
    ticket = Ticket(
        str(uuid.uuid4()),
        caller.principal.owner,
        caller.principal.key_id,
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


async def redeemed_ticket(state: ServiceState, query: Query, key: IdempotencyKey) -> Ticket | None:
    """Return the ticket in the query of an upload, if there is one.

    A used ticket stays valid for repetitions of the upload that used it, with the same idempotency key.

    Raises:
        Problem: 403, the ticket is invalid or used.
    """
    given = [value for name, value in query if name == TICKET]
    if not given:
        return None
    try:
        if len(given) > 1:
            raise BadSignature("The request has more than one ticket.")
        ticket = state.signer.redeem(given[0])
        issued_with = await state.library.catalogue.keys.get(ticket.key_id) if ticket.key_id else None
        if ticket.key_id and not (issued_with and issued_with.is_active):
            raise BadSignature("The API key that the ticket was issued with is no longer active.")
        if await state.library.records.is_used(ticket.id) and not await key.was_used(state.library, ticket.owner):
            raise BadSignature("The ticket was already used.")
    except BadSignature as error:
        raise Problem(403, "bad-ticket", str(error), parameter=TICKET) from None
    return ticket
