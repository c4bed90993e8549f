"""Observability of requests: request ids, the access log and Prometheus metrics."""

import random
import re
import time
from functools import cache
from http import HTTPStatus
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from progimage.http.middleware.lingering import Body
from progimage.http.responses.problems import WITH_BODY, send_problem
from progimage.logs import AccessLog
from progimage.metrics import REQUEST_SECONDS, REQUESTS
from progimage.problems import Problem
from progimage.tracing import is_tracing, note_response, request_span

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_QUIET_PATHS = {"/healthz", "/readyz", "/metrics"}


class Observed:
    """The outermost ASGI application: gives each request an id, logs it, and counts it in the metrics.

    Args:
        app: The wrapped application.
        log: The access log.
    """

    def __init__(self, app: ASGIApp, log: AccessLog) -> None:
        self._app = app
        self._log = log
        self._requests = cache(REQUESTS.labels)
        self._seconds = cache(REQUEST_SECONDS.labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)  # the lifespan, which ends with the service
            self._log.flush()
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0
        body = None
        if scope["method"] in WITH_BODY:
            body = Body(receive, expects_continue=any(name == b"expect" for name, _ in scope["headers"]))
            receive = body.receive

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            path = scope["raw_path"].lower()
            if b"%2f" in path or b"%00" in path:
                # An encoded slash is not a separator, so no route contains one, and a file name can't contain NUL.
                await send_problem(scope, send_with_id, Problem(404, "not-found", "No such path."))
            elif is_tracing() and scope["path"] not in _QUIET_PATHS:
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
                with request_span(scope["method"], headers) as current:
                    await self._app(scope, receive, send_with_id)
                    note_response(current, scope["method"], scope.get("path_template") or "none", status)
            else:
                await self._app(scope, receive, send_with_id)
        finally:
            self._record(scope, request_id, status, time.perf_counter() - started)
        if body is not None and status != HTTPStatus.REQUEST_TIMEOUT:
            await body.discard_rest()

    def _record(self, scope: Any, request_id: str, status: int, seconds: float) -> None:
        route = scope.get("path_template") or "none"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests(method, route, str(status)).inc()
        self._seconds(route).observe(seconds)
        if scope["path"] not in _QUIET_PATHS:
            self._log.add(request_id, method, scope["path"], status, seconds)


_METHODS = {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"}


def _request_id(scope: Any) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
    return given if given and _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
