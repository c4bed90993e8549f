"""The paths for operators, and the list of formats."""

import hmac
import time
from pathlib import Path

import prometheus_client
from litestar import Response, get, route
from litestar.datastructures import State
from litestar.enums import MediaType

import progimage
from progimage.engine import FORMATS, RenditionSpec
from progimage.engine.parameters import declared
from progimage.http.middleware.guard import CHALLENGE
from progimage.http.permission import AnyRequest
from progimage.metrics import BLOBS_DAMAGED, BYTES_STORED, IMAGES, JOBS, LADDER_BYTES, metrics_text
from progimage.problems import Problem
from progimage.schemas import FormatRow, ParameterRow, problems
from progimage.settings import Settings
from progimage.storage import Totals

PAGE = Path(progimage.__file__).parent / "web"
"""Where the files of the page are."""
_HOME = (PAGE / "index.html").read_bytes()
_PAUSE_FACTOR = 20
"""What is counted for the metrics is counted again after so many times as long as that took."""


@get("/formats", tags=["formats"], summary="List the formats", sync_to_thread=False)
def formats() -> list[FormatRow]:
    """Every format that can be read or written."""
    return [FormatRow.of(format) for format in FORMATS.values()]


@get("/parameters", tags=["formats"], summary="List the transformations", sync_to_thread=False)
def parameters() -> list[ParameterRow]:
    """Every parameter of a rendition, in the order of the pipeline."""
    return [ParameterRow.of(one) for one in declared(RenditionSpec)]


@get(
    "/healthz",
    tags=["operation"],
    summary="Is the process alive?",
    media_type=MediaType.TEXT,
    sync_to_thread=False,
)
def healthz() -> str:
    """Answer as long as the process can answer at all."""
    return "ok"


@get(
    "/readyz",
    tags=["operation"],
    summary="Can requests be served?",
    media_type=MediaType.TEXT,
    responses=problems(503),
)
async def readyz(state: State) -> str:
    """Answer whether database and store can be used."""
    await state.library.check()
    return "ready"


@get(
    "/metrics",
    tags=["operation"],
    summary="Prometheus metrics",
    media_type=MediaType.TEXT,
    responses=problems(401, 503),
)
async def metrics(request: AnyRequest, state: State) -> Response[bytes]:
    """The metrics of all HTTP processes, in Prometheus' text format."""
    _check_token(request, state.settings)
    totals = await _totals(state)
    for (kind, job_state), count in (await state.jobs.counts()).items():
        JOBS.labels(kind, job_state).set(count)
    BLOBS_DAMAGED.set(totals.damaged)
    IMAGES.set(totals.images)
    BYTES_STORED.set(totals.bytes)
    LADDER_BYTES.set(totals.ladder_bytes)
    return Response(metrics_text(), headers={"content-type": prometheus_client.CONTENT_TYPE_LATEST})


async def _totals(state: State) -> Totals:
    """Return how much is kept; of a large database it is counted the more seldom, the longer that takes."""
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
            401, "key-needed", "The metrics need a token.", parameter="Authorization",
            allowed="the bearer token of PROGIMAGE_METRICS_TOKEN", headers={"www-authenticate": CHALLENGE},
        )  # fmt: skip


@route("/", http_method=["GET", "HEAD"], include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False)
def home() -> Response[bytes]:
    """Show the page."""
    return Response(_HOME, media_type=MediaType.HTML, headers={"cache-control": "no-cache"})
