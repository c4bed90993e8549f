"""The routes of background jobs."""

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.enums import MediaType
from litestar.params import Parameter

from progimage.auth import Caller, Principal, Scope
from progimage.http.paging import CURSOR_PARAMETER, LIMIT_PARAMETER, Page
from progimage.http.permission import requires
from progimage.http.state import ServiceState
from progimage.jobs import KINDS, Job, UnknownJob
from progimage.jobs import State as JobState
from progimage.problems import Problem
from progimage.schemas import date_text, problems, response


class JobDocument(msgspec.Struct):
    """A job, or a part of one.

    Attributes:
        id: The id of the job, or of a part of one.
        kind: The kind of job.
        owner: The owner it works for; empty for the service itself.
        state: `waiting`, `running`, `done` or `failed`.
        created: When it was created (RFC 3339).
        updated: When its state last changed (RFC 3339).
        arguments: Its arguments.
        result: Its result, or null.
        problem: Why it failed, or null.
    """

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
        """Describe a job, without arguments for internal use."""
        shown = {name: value for name, value in job.arguments.items() if name in _SHOWN}
        return cls(
            job.id, job.kind, job.owner, job.state, date_text(job.created_at) or "", date_text(job.updated_at) or "",
            shown, job.result, job.problem,
        )  # fmt: skip


class JobListDocument(msgspec.Struct):
    """A page of jobs, newest first.

    Attributes:
        jobs: The jobs.
        next: The `cursor` of the next page, or null on the last page.
    """

    jobs: list[JobDocument]
    next: str | None


class ProgressDocument(msgspec.Struct):
    """The progress of a job.

    Attributes:
        id: The id of the job.
        state: The state of the whole job: `waiting`, `running`, `done` or `failed`.
        total: The number of its parts.
        waiting: How many parts are waiting.
        running: How many parts are running.
        done: How many parts are done.
        failed: How many parts have failed.
        parts: The parts.
    """

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
    description="Returns the background jobs of the key's owner in pages, newest first. Administrators get the jobs of"
    " all owners.",
    responses=problems(400, 401, 403, 503),
    guards=[requires(Scope.READ)],
)
async def list_jobs(
    caller: Caller,
    state: ServiceState,
    kind: Annotated[str | None, Parameter(description=f"Only jobs of this kind: {', '.join(KINDS)}.")] = None,
    in_state: Annotated[
        str | None, Parameter(query="state", description=f"Only jobs in this state: {', '.join(JobState)}.")
    ] = None,
    cursor: CURSOR_PARAMETER = None,
    limit: LIMIT_PARAMETER = None,
) -> JobListDocument:
    """Return a page of the jobs that the caller may see."""
    page = Page[tuple[float, str]].asked_for(limit, cursor, tuple[float, str])
    _check_one_of("kind", kind, KINDS)
    _check_one_of("state", in_state, tuple(JobState))
    found = await state.jobs.find(
        owner=None if caller.principal.may(Scope.ADMIN) else caller.principal.owner,
        kind=kind,
        state=JobState(in_state) if in_state else None,
        limit=page.limit + 1,
        below=page.after,
    )
    jobs, following = page.cut(found, lambda job: (job.created_at, job.id))
    return JobListDocument([JobDocument.of(job) for job in jobs], following)


@get(
    "/jobs/{id:str}",
    tags=["jobs"],
    summary="Get the progress of a job",
    description="Returns how many parts of the job are waiting, running, done and failed, and the result of each.",
    responses=problems(401, 403, 404, 503),
    guards=[requires(Scope.READ)],
)
async def show_job(caller: Caller, state: ServiceState, id: str) -> ProgressDocument:
    """Return the progress of a job."""
    return ProgressDocument.of(id, await _own(state, caller.principal, id))


@post(
    "/jobs/{id:str}/retry",
    tags=["jobs"],
    summary="Retry a job",
    description="Queues the failed parts of a job again and returns its progress. Without the scope `read`, the"
    " response is 204.",
    responses={
        200: response(ProgressDocument, "The progress of the job."),
        204: response(None, "The failed parts were queued again."),
        **problems(401, 403, 404, 503),
    },
    status_code=200,
    guards=[requires(Scope.UPLOAD)],
)
async def retry_job(caller: Caller, state: ServiceState, id: str) -> Response[Any]:
    """Queue the failed parts of a job again."""
    await state.jobs.retry(await _own(state, caller.principal, id))
    if not caller.principal.may(Scope.READ):
        return Response(None, status_code=204)
    progress = ProgressDocument.of(id, await state.jobs.get(id))
    return Response(progress, media_type=MediaType.JSON, status_code=200)


async def _own(state: ServiceState, principal: Principal, id: str) -> list[Job]:
    found = await state.jobs.get(id)
    if not all(principal.owns(job.owner) for job in found):
        raise UnknownJob(id)
    return found


def _check_one_of(name: str, given: str | None, allowed: tuple[str, ...]) -> None:
    if given is not None and given not in allowed:
        raise Problem(400, "invalid-parameter", f"Unknown {name}.", parameter=name, given=given, allowed=list(allowed))


JOBS = (list_jobs, show_job, retry_job)
