"""The route of Prometheus metrics."""

import hmac
import time

import prometheus_client
from litestar import Response, get
from litestar.enums import MediaType

from progimage.http.middleware.authentication import CHALLENGE
from progimage.http.params import ANY_QUERY
from progimage.http.permission import AnyRequest
from progimage.http.state import ServiceState
from progimage.metrics import BLOBS_DAMAGED, BYTES_STORED, IMAGES, JOBS, LADDER_BYTES, metrics_text
from progimage.problems import Problem
from progimage.schemas import problems
from progimage.settings import Settings
from progimage.storage import Totals

_PAUSE_FACTOR = 20
"""The totals are refreshed after this multiple of the time that counting them took."""


@get(
    "/metrics",
    tags=["operation"],
    summary="Get Prometheus metrics",
    description="Returns the metrics of all HTTP processes in Prometheus' text format.",
    media_type=MediaType.TEXT,
    responses=problems(401, 503),
    opt=ANY_QUERY,
)
async def metrics(request: AnyRequest, state: ServiceState) -> Response[bytes]:
    """Return the metrics of all HTTP processes in Prometheus' text format."""
    _check_token(request, state.settings)
    totals = await _totals(state)
    for (kind, job_state), count in (await state.jobs.counts()).items():
        JOBS.labels(kind, job_state).set(count)
    BLOBS_DAMAGED.set(totals.damaged)
    IMAGES.set(totals.images)
    BYTES_STORED.set(totals.bytes)
    LADDER_BYTES.set(totals.ladder_bytes)
    return Response(metrics_text(), headers={"content-type": prometheus_client.CONTENT_TYPE_LATEST})


async def _totals(state: ServiceState) -> Totals:
    """Return the totals of stored images; the longer counting takes, the less often they are refreshed."""
    known: tuple[float, Totals] | None = state.get("totals")
    if known and known[0] > time.monotonic():
        return known[1]
    began = time.monotonic()
    totals: Totals = await state.library.catalogue.inventory.totals()
    state.totals = (began + _PAUSE_FACTOR * (time.monotonic() - began), totals)
    return totals


def _check_token(request: AnyRequest, settings: Settings) -> None:
    if settings.metrics_token is None:
        return
    given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
    if not hmac.compare_digest(given, settings.metrics_token.get_secret_value().encode()):
        raise Problem(
            401, "key-needed", "The metrics require a token.", parameter="Authorization",
            allowed="the bearer token of PROGIMAGE_METRICS_TOKEN", headers={"www-authenticate": CHALLENGE},
        )  # fmt: skip
