"""Every error as a problem document (RFC 9457): what is wrong, with what was given and what is allowed.

HTTP answers it, a job keeps it, and a command prints its detail.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from obstore.exceptions import BaseError as StoreError

from progimage import engine
from progimage.auth import BadKey, TooManyRequests
from progimage.fetching import FetchFailed, TooManyFetches, UrlRefused
from progimage.images.ingest import FetchingDisabled, UploadTooLarge
from progimage.images.library import ReferenceTaken
from progimage.images.renderer import DrawingTooCostly
from progimage.images.requests import UnknownFormat, extensions
from progimage.jobs import UnknownJob
from progimage.storage import (
    BlobDamaged,
    BlobMissing,
    DatabaseFull,
    DatabaseUnavailable,
    Held,
    ListTooSlow,
    QuotaExceeded,
    SpoolFull,
    TicketUsed,
    UnknownKey,
    UnknownReference,
    WrongStore,
    is_full,
)
from progimage.workers import Busy, TaskTooLong, WorkerCrashed, WorkerKilled

CLIENT_GONE = 499
"""The status of a request whose client closed the connection; nobody sees it but the log."""
_FULL_RETRY_AFTER = 30
_DAMAGED = "The stored original is damaged or missing. It is answered again when it is restored, or uploaded again."
_DAMAGED_RETRY_AFTER = 60


class Problem(Exception):
    """An error to be answered.

    Args:
        status: The HTTP status.
        kind: A short name for this kind of problem, the last part of its type URN.
        detail: What is wrong, in a sentence.
        parameter: The name of the parameter, field or header at fault, if one is.
        given: What was given for it.
        allowed: What would have been allowed.
        headers: Further response headers.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        parameter: str | None = None,
        given: str | int | None = None,
        allowed: str | int | list[str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Store the parts."""
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.parameter, self.given, self.allowed = parameter, given, allowed
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the members of the problem document."""
        members = {
            "type": f"urn:progimage:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase if self.status != CLIENT_GONE else "Client Closed Request",
            "status": self.status,
            "detail": self.detail,
            "parameter": self.parameter,
            "given": self.given,
            "allowed": self.allowed,
        }
        return {name: value for name, value in members.items() if value is not None}

    def encoded(self) -> bytes:
        """Return the problem document."""
        return msgspec.json.encode(self.body())


class ClientGone(Exception):
    """The client closed the connection; nobody will read an answer."""


def to_problem(error: Exception) -> Problem:
    """Return the problem that an exception stands for."""
    if isinstance(error, Problem):
        return error
    if is_full(error):
        return _storage_full()
    for kind, make in _PROBLEMS.items():
        if isinstance(error, kind):
            return make(error)
    return Problem(500, "internal", "Something went wrong here; the log has it under the request's id.")


def _unavailable(kind: str, detail: str, retry_after: int = 1) -> Problem:
    return Problem(503, kind, detail, headers={"retry-after": str(retry_after)})


def _storage_full() -> Problem:
    return Problem(
        507,
        "storage-full",
        "The service has no room left for this. Stored images can still be read and deleted. Try again later; its"
        " operator has to make room.",
        headers={"retry-after": str(_FULL_RETRY_AFTER)},
    )


def _about_image(status: int, kind: str) -> Callable[[Any], Problem]:
    return lambda error: Problem(status, kind, str(error) + _which(error), parameter="data")


def _which(error: BaseException) -> str:
    """Say which part of a request is meant, where there are several."""
    return "".join(f" ({note})" for note in getattr(error, "__notes__", []))


_PROBLEMS: dict[type[Exception], Callable[[Any], Problem]] = {
    # The same whether there is none, or one that the client may not know of.
    UnknownReference: lambda e: Problem(
        404, "unknown-reference", "No image has this reference, or none that this request may see.", given=str(e)
    ),
    BadKey: lambda e: Problem(401, "invalid-key", str(e), parameter="Authorization", allowed="an active API key"),
    TooManyRequests: lambda e: Problem(429, "too-many-requests", str(e), allowed=e.allowed, headers=e.headers),
    QuotaExceeded: lambda e: Problem(
        403, "quota-exceeded", str(e), parameter=e.what, given=e.wanted, allowed=e.allowed
    ),
    SpoolFull: lambda e: (
        Problem(413, "too-much-at-once", str(e), parameter="data", allowed=e.allowed)
        if e.own
        else _unavailable("spool-full", str(e), 5)
    ),
    TicketUsed: lambda e: Problem(403, "ticket-used", "The ticket has been used.", parameter="ticket"),
    ReferenceTaken: lambda e: Problem(
        409,
        "idempotency-key-reused",
        "With this key another image was uploaded.",
        parameter="Idempotency-Key",
        allowed="a new random UUID for each upload",
    ),
    Held: lambda e: Problem(409, "held", "A legal hold keeps the image from being deleted."),
    UnknownKey: lambda e: Problem(404, "unknown-key", "No active key has this id.", given=str(e)),
    UrlRefused: lambda e: Problem(400, "url-refused", str(e), parameter="url", allowed=e.allowed),
    TooManyFetches: lambda e: Problem(
        429, "too-many-requests", str(e), parameter="url", allowed=e.most, headers={"retry-after": "5"}
    ),
    UploadTooLarge: lambda e: Problem(
        413, "upload-too-large", str(e), parameter="data", given=e.given, allowed=e.allowed
    ),
    FetchingDisabled: lambda e: Problem(
        403, "url-not-allowed", str(e), parameter="url", given=e.url, allowed="the image itself"
    ),
    FetchFailed: lambda e: Problem(422, "fetch-failed", str(e), parameter="url"),
    engine.UnknownParameter: lambda e: Problem(
        400, "unknown-parameter", str(e), parameter=e.parameter, given=e.given, allowed=e.names
    ),
    engine.InvalidParameter: lambda e: Problem(
        400, "invalid-parameter", str(e), parameter=e.parameter, given=e.given, allowed=e.allowed
    ),
    UnknownFormat: lambda e: Problem(
        400,
        "format-not-writable" if e.known else "unknown-format",
        str(e),
        parameter="extension",
        given=e.extension,
        allowed=extensions(),
    ),
    engine.CannotRepresent: lambda e: Problem(400, "cannot-represent", str(e), parameter="extension"),
    engine.NotAnImage: _about_image(400, "not-an-image"),
    engine.CorruptImage: _about_image(400, "corrupt-image"),
    engine.LimitExceeded: lambda e: Problem(
        413, "image-too-large", f"{e}{_which(e)}", parameter="data", given=e.given, allowed=e.allowed
    ),
    Busy: lambda e: _unavailable("busy", str(e), e.retry_after),
    TaskTooLong: _about_image(422, "too-long"),
    WorkerCrashed: _about_image(422, "codec-crashed"),
    DrawingTooCostly: lambda e: Problem(
        422, "drawing-too-costly", f"{e}{_which(e)}", parameter="data", allowed=f"{e.seconds:g} seconds of CPU time"
    ),
    MemoryError: lambda e: Problem(
        422, "too-much-memory", f"It needs more memory than one worker may use.{_which(e)}", parameter="data"
    ),
    WorkerKilled: lambda e: _unavailable("worker-killed", "The worker was killed; try again."),
    ListTooSlow: lambda e: Problem(
        503,
        "list-too-slow",
        f"{e} Ask for less: name a label, a format, or a time with `after` and `before`.",
        headers={"retry-after": "60"},
    ),
    DatabaseFull: lambda e: _storage_full(),
    DatabaseUnavailable: lambda e: _unavailable("database-unavailable", "The database can't be used now."),
    BlobMissing: lambda e: _unavailable("blob-damaged", _DAMAGED, _DAMAGED_RETRY_AFTER),
    BlobDamaged: lambda e: _unavailable("blob-damaged", _DAMAGED, _DAMAGED_RETRY_AFTER),
    WrongStore: lambda e: _unavailable("wrong-store", str(e), 10),
    StoreError: lambda e: _unavailable("store-unavailable", "The store of originals can't be used now."),
    UnknownJob: lambda e: Problem(404, "unknown-job", "There is no such job, or it is another's.", given=str(e)),
    ClientGone: lambda e: Problem(CLIENT_GONE, "client-gone", "The client closed the connection."),
}
