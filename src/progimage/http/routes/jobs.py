"""The paths that tell how far work in the background is."""

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.params import Parameter

from progimage.auth import Principal, Scope
from progimage.http.params import query_of, refuse_query
from progimage.http.permission import AnyRequest, require
from progimage.images.options import MOST_LISTED, USUALLY_LISTED, check_range
from progimage.jobs import KINDS, Job, JobQueue, UnknownJob
from progimage.jobs import State as JobState
from progimage.problems import Problem
from progimage.schemas import date_text, problems, response


class JobDocument(msgspec.Struct):
    """A job, or a part of one."""

    id: str
    kind: str
    owner: str
    state: str
    created: str
    updated: str
    arguments: dict[str, Any]
    result: dict[str, Any] | None
    problem: dict[str, Any] | None

    @classmethod
    def of(cls, job: Job) -> "JobDocument":
        """Describe a job; who asked for it is its owner's business alone."""
        shown = {name: value for name, value in job.arguments.items() if name in _SHOWN}
        return cls(
            job.id, job.kind, job.owner, job.state, date_text(job.created_at) or "", date_text(job.updated_at) or "",
            shown, job.result, job.problem,
        )  # fmt: skip


class JobListDocument(msgspec.Struct):
    """Jobs, the newest first."""

    jobs: list[JobDocument]


class ProgressDocument(msgspec.Struct):
    """How far a job is: the number of its parts in each state, and the parts."""

    id: str
    state: str
    total: int
    waiting: int
    running: int
    done: int
    failed: int
    parts: list[JobDocument]

    @classmethod
    def of(cls, id: str, jobs: list[Job]) -> "ProgressDocument":
        """Describe a job by its parts."""
        counts = {state: sum(job.state is state for job in jobs) for state in JobState}
        open_ = counts[JobState.RUNNING] or (counts[JobState.WAITING] and counts[JobState.DONE])
        if open_:
            state = JobState.RUNNING
        elif counts[JobState.WAITING]:
            state = JobState.WAITING
        else:
            state = JobState.FAILED if counts[JobState.FAILED] else JobState.DONE
        return cls(
            id, state, len(jobs), counts[JobState.WAITING], counts[JobState.RUNNING], counts[JobState.DONE],
            counts[JobState.FAILED], [JobDocument.of(job) for job in jobs],
        )  # fmt: skip


_SHOWN = ("reference", "renditions", "url", "labels", "metadata", "visibility", "expires_at")


@get(
    "/jobs",
    tags=["jobs"],
    summary="List jobs",
    description="Work in the background, the newest first: of the key's owner, or all, for administrators.",
    responses=problems(400, 401, 403, 503),
)
async def list_jobs(
    request: AnyRequest,
    state: State,
    kind: Annotated[str | None, Parameter(description=f"One of {', '.join(KINDS)}.")] = None,
    in_state: Annotated[str | None, Parameter(query="state", description=f"One of {', '.join(JobState)}.")] = None,
    limit: Annotated[int, Parameter(description=f"How many at most, 1 to {MOST_LISTED}.")] = USUALLY_LISTED,
    offset: Annotated[int, Parameter(description="How many to pass over.")] = 0,
) -> JobListDocument:
    """Answer the jobs that the client may know of."""
    principal = require(request, Scope.READ).principal
    refuse_query(query_of(request), ("kind", "state", "limit", "offset"))
    check_range("limit", limit, 1, MOST_LISTED)
    check_range("offset", offset, 0, 10**9)
    _check_one_of("kind", kind, KINDS)
    _check_one_of("state", in_state, tuple(JobState))
    jobs: JobQueue = state.jobs
    found = await jobs.find(
        owner=None if principal.may(Scope.ADMIN) else principal.owner,
        kind=kind,
        state=JobState(in_state) if in_state else None,
        most=limit,
        offset=offset,
    )
    return JobListDocument([JobDocument.of(job) for job in found])


@get(
    "/jobs/{id:str}",
    tags=["jobs"],
    summary="See how far a job is",
    description="How many of its parts are waiting, running, done and failed, and what came of each.",
    responses=problems(401, 403, 404, 503),
)
async def show_job(request: AnyRequest, state: State, id: str) -> ProgressDocument:
    """Answer one job."""
    principal = require(request, Scope.READ).principal
    refuse_query(query_of(request))
    return ProgressDocument.of(id, await _own(state, principal, id))


@post(
    "/jobs/{id:str}/retry",
    tags=["jobs"],
    summary="Do again what failed",
    description="What failed of a job is put into the queue again. The answer is how far the job is then; a key without"
    " the scope `read` is not told, but answered 204.",
    responses={
        200: response(ProgressDocument, "How far the job is."),
        204: response(None, "It is in the queue again."),
        **problems(401, 403, 404, 503),
    },
    status_code=200,
)
async def retry_job(request: AnyRequest, state: State, id: str) -> Response[Any]:
    """Have the failed parts of a job done again."""
    principal = require(request, Scope.UPLOAD).principal
    refuse_query(query_of(request))
    jobs: JobQueue = state.jobs
    await jobs.retry(await _own(state, principal, id))
    if not principal.may(Scope.READ):
        return Response(None, status_code=204)
    return Response(ProgressDocument.of(id, await jobs.get(id)), media_type=MediaType.JSON, status_code=200)


async def _own(state: State, principal: Principal, id: str) -> list[Job]:
    jobs: JobQueue = state.jobs
    found = await jobs.get(id)
    if not all(principal.owns(job.owner) for job in found):
        raise UnknownJob(id)
    return found


def _check_one_of(name: str, given: str | None, allowed: tuple[str, ...]) -> None:
    if given is not None and given not in allowed:
        raise Problem(
            400, "invalid-parameter", f"There is no such {name}.", parameter=name, given=given, allowed=list(allowed)
        )


JOBS = (list_jobs, show_job, retry_job)
