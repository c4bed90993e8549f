"""The route of the audit log."""

from dataclasses import replace
from typing import Annotated

from litestar import get
from litestar.params import Parameter

from progimage.auth import Scope
from progimage.http.paging import CURSOR_PARAMETER, LIMIT_PARAMETER, Page
from progimage.http.permission import requires
from progimage.http.state import ServiceState
from progimage.images.options import date
from progimage.schemas import EventDocument, EventPage, problems
from progimage.storage import EventFilter


@get(
    "/audit",
    tags=["access"],
    summary="Read the audit log",
    description="Returns events in pages, newest first: uploads, changes, deletions, changes to keys and quotas, and"
    " refused requests. Administrators only.",
    responses=problems(400, 401, 403, 503),
    guards=[requires(Scope.ADMIN)],
)
async def read_audit(
    state: ServiceState,
    action: Annotated[
        str | None, Parameter(query="action", description="Only this action, such as `upload`, `delete` or `refused`.")
    ] = None,
    owner: Annotated[str | None, Parameter(query="owner", description="Only events about this owner.")] = None,
    reference: Annotated[str | None, Parameter(query="reference", description="Only events about this image.")] = None,
    after: Annotated[str | None, Parameter(query="after", description="Only events at or after this date.")] = None,
    before: Annotated[str | None, Parameter(query="before", description="Only events before this date.")] = None,
    cursor: CURSOR_PARAMETER = None,
    limit: LIMIT_PARAMETER = None,
) -> EventPage:
    """Return a page of events."""
    page = Page[tuple[int]].asked_for(limit, cursor, tuple[int])
    wanted = EventFilter(
        action,
        owner,
        reference,
        date("after", after) if after is not None else None,
        date("before", before) if before is not None else None,
    )
    if page.after is not None:
        wanted = replace(wanted, below=page.after[0])
    events, following = page.cut(
        await state.library.catalogue.audit.find(wanted, page.limit + 1), lambda event: (event.id,)
    )
    return EventPage([EventDocument.of(event) for event in events], following)
