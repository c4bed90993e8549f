"""Problem documents: RFC 9457, with what was given and what would have been allowed."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import pytest

from progimage.auth import BadKey, TooManyRequests
from progimage.engine import InvalidParameter, LimitExceeded
from progimage.http.responses.problems import send_problem
from progimage.problems import Problem, to_problem
from progimage.workers import Busy


def sent(problem: Problem, method: str = "GET") -> tuple[int, dict[str, str], Any]:
    messages: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        messages.append(message)

    asyncio.run(send_problem({"method": method}, send, problem))
    start, body = messages
    assert not body["more_body"]
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers["content-length"] == str(len(body["body"]))
    return start["status"], headers, json.loads(body["body"])


def test_a_problem_says_what_it_is_and_what_is_wrong() -> None:
    problem = Problem(400, "invalid-parameter", "It is wrong.", parameter="width", given="x", allowed="1 to 5")
    status, headers, members = sent(problem)
    assert status == 400 and headers["content-type"] == "application/problem+json"
    assert members == {
        "type": "urn:progimage:problem:invalid-parameter",
        "title": "Bad Request",
        "status": 400,
        "detail": "It is wrong.",
        "parameter": "width",
        "given": "x",
        "allowed": "1 to 5",
    }


def test_members_that_there_are_not_are_left_out_and_nothing_else() -> None:
    assert set(Problem(404, "x", "y").body()) == {"type", "title", "status", "detail"}
    assert Problem(400, "x", "y", given="", allowed=[]).body()["given"] == ""
    assert Problem(400, "x", "y", given=0).body()["given"] == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413, 415, 416, 429, 500, 503, 507])
def test_the_title_is_that_of_the_status(status: int) -> None:
    assert Problem(status, "x", "y").body()["title"] == HTTPStatus(status).phrase


def test_a_caller_that_is_gone_has_a_status_of_its_own() -> None:
    assert Problem(499, "x", "y").body()["title"] == "Client Closed Request"


def test_its_header_fields_go_with_it() -> None:
    problem = Problem(429, "x", "y", headers={"Retry-After": "5"})
    assert sent(problem)[1]["retry-after"] == "5"


def test_a_connection_whose_body_may_not_have_been_read_is_closed() -> None:
    for method, closed in (
        ("GET", False),
        ("HEAD", False),
        ("DELETE", False),
        ("PUT", True),
        ("POST", True),
        ("PATCH", True),
    ):
        assert ("connection" in sent(Problem(400, "x", "y"), method)[1]) is closed, method


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidParameter("width", "x", "1"), 400), (BadKey("no"), 401), (TooManyRequests("Too many", "5", 7), 429),
        (LimitExceeded("pixels", 5, 4), 413), (Busy(7), 503), (ValueError("secret"), 500),
    ],
)  # fmt: skip
def test_every_error_is_a_problem(error: Exception, status: int) -> None:
    problem = to_problem(error)
    assert problem.status == status and "secret" not in problem.detail
    if isinstance(error, Busy | TooManyRequests):
        assert problem.headers["retry-after"] == "7"
    if isinstance(error, InvalidParameter):
        assert (problem.parameter, problem.given, problem.allowed) == ("width", "x", "1")
    assert to_problem(problem) is problem
