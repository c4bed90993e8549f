"""Every error as a problem document (RFC 9457): an explanation, the given value and the allowed ones.

HTTP returns the document, a job stores it, and a command prints its detail.
"""

import errno
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
    ScratchFull,
    TicketUsed,
    UnknownKey,
    UnknownReference,
    WrongStore,
    is_full,
)
from progimage.workers import Busy, TaskTooLong, WorkerCrashed, WorkerKilled

CLIENT_GONE = 499
"""The status of a request whose caller closed the connection; it appears only in the log."""
_FULL_RETRY_AFTER = 30
_DISK_FAILURES = frozenset(
    (errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.ESTALE)
)
"""How the operating system reports a disk, or a folder on it, that can't be used; a full one is another problem."""
_DAMAGED = "The stored original is damaged or missing. It is available again once it is restored or uploaded again."
_DAMAGED_RETRY_AFTER = 60


class Problem(Exception):
    """An error to return to the caller.

    Args:
        status: The HTTP status.
        kind: A short name for this kind of problem, the last part of its type URN.
        detail: An explanation, in a sentence.
        parameter: The name of the parameter, form field or header field that caused it, if any.
        given: Its value.
        allowed: The allowed values.
        headers: Additional response headers.
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
        """Return the problem document as JSON."""
        return msgspec.json.encode(self.body())


class CallerGone(Exception):
    """The caller closed the connection and won't read a response."""


def to_problem(error: Exception) -> Problem:
    """Return the problem for an exception."""
    if isinstance(error, Problem):
        return error
    if is_full(error):
        return _storage_full()
    for kind, make in _PROBLEMS.items():
        if isinstance(error, kind):
            return make(error)
    if isinstance(error, OSError) and error.errno in _DISK_FAILURES:
        return _unavailable("disk-failed", "A disk of the service fails. Its operator has to repair it.", 60)
    return Problem(500, "internal", "Internal error. The log has details under the id of this request.")


def _unavailable(kind: str, detail: str, retry_after: int = 1) -> Problem:
    return Problem(503, kind, detail, headers={"retry-after": str(retry_after)})


def _storage_full() -> Problem:
    return Problem(
        507,
        "storage-full",
        "The service is out of storage space. Stored images can still be read and deleted. Try again later; the"
        " operator has to free space.",
        headers={"retry-after": str(_FULL_RETRY_AFTER)},
    )


def _about_image(status: int, kind: str) -> Callable[[Any], Problem]:
    return lambda error: Problem(status, kind, str(error) + _which(error), parameter="data")


def _which(error: BaseException) -> str:
    """Return which part of a request an error is about, where there are several."""
    return "".join(f" ({note})" for note in getattr(error, "__notes__", []))


_PROBLEMS: dict[type[Exception], Callable[[Any], Problem]] = {
    # The same for images that don't exist and for those that the caller may not know of.
    UnknownReference: lambda e: Problem(
        404, "unknown-reference", "No image has this reference, or this request has no access to it.", given=str(e)
    ),
    BadKey: lambda e: Problem(401, "invalid-key", str(e), parameter="Authorization", allowed="an active API key"),
    TooManyRequests: lambda e: Problem(429, "too-many-requests", str(e), allowed=e.allowed, headers=e.headers),
    QuotaExceeded: lambda e: Problem(
        403, "quota-exceeded", str(e), parameter=e.what, given=e.wanted, allowed=e.allowed
    ),
    ScratchFull: lambda e: (
        Problem(413, "too-much-at-once", str(e), parameter="data", allowed=e.allowed)
        if e.own
        else _unavailable("spool-full", str(e), 5)
    ),
    TicketUsed: lambda e: Problem(403, "ticket-used", "The ticket was already used.", parameter="ticket"),
    ReferenceTaken: lambda e: Problem(
        409,
        "idempotency-key-reused",
        "This idempotency key was already used for another image.",
        parameter="Idempotency-Key",
        allowed="a new random UUID for each upload",
    ),
    Held: lambda e: Problem(409, "held", "The image is under a legal hold and can't be deleted."),
    UnknownKey: lambda e: Problem(404, "unknown-key", "No active API key has this id.", given=str(e)),
    UrlRefused: lambda e: Problem(400, "url-refused", str(e), parameter="url", allowed=e.allowed),
    TooManyFetches: lambda e: Problem(
        429, "too-many-requests", str(e), parameter="url", allowed=e.limit, headers={"retry-after": "5"}
    ),
    UploadTooLarge: lambda e: Problem(
        413, "upload-too-large", str(e), parameter="data", given=e.given, allowed=e.allowed
    ),
    FetchingDisabled: lambda e: Problem(
        403, "url-not-allowed", str(e), parameter="url", given=e.url, allowed="an upload of the image itself"
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
        422, "too-much-memory", f"Processing needs more memory than a worker may use.{_which(e)}", parameter="data"
    ),
    WorkerKilled: lambda e: _unavailable("worker-killed", "The worker process was killed; try again."),
    ListTooSlow: lambda e: Problem(
        503,
        "list-too-slow",
        f"{e} Narrow the list: filter by label or format, or by time with `after` and `before`.",
        headers={"retry-after": "60"},
    ),
    DatabaseFull: lambda e: _storage_full(),
    DatabaseUnavailable: lambda e: _unavailable("database-unavailable", "The database is unavailable."),
    BlobMissing: lambda e: _unavailable("blob-damaged", _DAMAGED, _DAMAGED_RETRY_AFTER),
    BlobDamaged: lambda e: _unavailable("blob-damaged", _DAMAGED, _DAMAGED_RETRY_AFTER),
    WrongStore: lambda e: _unavailable("wrong-store", str(e), 10),
    StoreError: lambda e: _unavailable("store-unavailable", "The store of originals is unavailable."),
    UnknownJob: lambda e: Problem(404, "unknown-job", "No such job, or it belongs to another owner.", given=str(e)),
    CallerGone: lambda e: Problem(CLIENT_GONE, "client-gone", "The caller closed the connection."),
}
