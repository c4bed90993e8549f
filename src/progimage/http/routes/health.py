"""The routes of health checks."""

from litestar import get
from litestar.enums import MediaType

from progimage.http.params import ANY_QUERY
from progimage.http.state import ServiceState
from progimage.schemas import problems


@get(
    "/healthz",
    tags=["operation"],
    summary="Check that the process is alive",
    description="Returns `ok` as long as the process can respond.",
    media_type=MediaType.TEXT,
    sync_to_thread=False,
    opt=ANY_QUERY,
)
def healthz() -> str:
    """Return `ok` as long as the process can respond."""
    return "ok"


@get(
    "/readyz",
    tags=["operation"],
    summary="Check that requests can be served",
    description="Returns `ready` if the database and the store are available, otherwise 503.",
    media_type=MediaType.TEXT,
    responses=problems(503),
    opt=ANY_QUERY,
)
async def readyz(state: ServiceState) -> str:
    """Return `ready` if the database and the store are available, otherwise 503."""
    await state.library.check()
    return "ready"
