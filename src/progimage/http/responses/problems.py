"""Responses with a problem: `application/problem+json` (RFC 9457)."""

from http import HTTPStatus
from typing import Any

import structlog
from litestar import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Response
from litestar.types import Send
from prometheus_client import Counter

from progimage import problems
from progimage.problems import Problem

log = structlog.get_logger(__name__)
MEDIA_TYPE = "application/problem+json"
WITH_BODY = frozenset(("PUT", "POST", "PATCH"))
"""The methods whose requests have a body."""
PROBLEMS = Counter("progimage_problems_total", "Responses with a problem, by kind.", ["kind"])


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Return the response with the problem for an exception."""
    problem = to_problem(error)
    PROBLEMS.labels(problem.kind).inc()
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        write = log.exception if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR else log.warning
        write(
            "request failed",
            kind=problem.kind,
            error=f"{type(error).__name__}: {error}",  # unlike repr, it has the file of an OSError
            exc_info=error if write == log.exception else None,
        )
    headers = {**problem.headers, **_closing(request.method)}
    return Response(problem.encoded(), status_code=int(problem.status), media_type=MEDIA_TYPE, headers=headers)


async def send_problem(scope: Any, send: Send, problem: Problem) -> None:
    """Respond with a problem, outside the framework."""
    body = problem.encoded()
    pairs = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        **_closing(scope["method"]),
        **problem.headers,
    }
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def to_problem(error: Exception) -> Problem:
    """Return the problem for an exception, including the framework's own."""
    if isinstance(error, ValidationException):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        return _of_http(error)
    return problems.to_problem(error)


def _of_http(error: HTTPException) -> Problem:
    status = HTTPStatus(error.status_code)
    if status == HTTPStatus.BAD_REQUEST:
        return _bad_body(f"{error.detail}.")
    headers = {str(name): str(value) for name, value in (error.headers or {}).items()}
    detail = {404: "No such path.", 405: "This path doesn't support this method."}
    return Problem(status, status.phrase.lower().replace(" ", "-"), detail.get(status, error.detail), headers=headers)


def _closing(method: str) -> dict[str, str]:
    # If the body was not read to its end, the server closes the connection. Clients have to know, or their next request
    # could be lost.
    return {"connection": "close"} if method in WITH_BODY else {}


def _of_validation(error: ValidationException) -> Problem:
    """Return a problem that names the member of a JSON body, or the parameter, that caused the error."""
    faults: Any = error.extra if isinstance(error.extra, list) else []
    first = faults[0] if faults else {}
    key, detail = first.get("key", "data"), "; ".join(fault.get("message", "") for fault in faults)
    if key != "data":
        return Problem(400, "invalid-parameter", detail, parameter=key)
    missing = not faults or detail == "'data'"  # Litestar's message for a handler's `data` without a body
    return _bad_body("The body is missing." if missing else f"{detail}.")


def _bad_body(detail: str) -> Problem:
    return Problem(400, "invalid-body", detail, parameter="body", allowed="JSON as documented at /docs")
