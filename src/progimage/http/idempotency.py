"""Idempotency keys: a repeated upload stores nothing new, and gets the response of the first one."""

import uuid
from dataclasses import dataclass

from progimage.http.permission import AnyRequest
from progimage.images.library import ImageLibrary
from progimage.problems import Problem

IDEMPOTENCY_KEY = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The header field that makes an upload safe to repeat.

    Attributes:
        value: Its value, a random UUID; None: the request has no such field.
    """

    value: uuid.UUID | None

    @classmethod
    def of(cls, request: AnyRequest) -> "IdempotencyKey":
        """Return the key of a request.

        Raises:
            Problem: 400, the key is invalid, or there are two.
        """
        given = request.headers.getall(IDEMPOTENCY_KEY, [])
        if not given:
            return cls(None)
        try:
            (text,) = given
            return cls(uuid.UUID(text))
        except ValueError:
            raise Problem(
                400, "invalid-parameter", "Invalid idempotency key.", parameter=IDEMPOTENCY_KEY,
                given=", ".join(given)[:100], allowed="one random UUID",
            ) from None  # fmt: skip

    def references(self, owner: str, count: int) -> list[str] | None:
        """Return the references of the upload's images, the same for each repetition; None without a key."""
        if self.value is None:
            return None
        return [str(uuid.uuid5(self.value, f"{owner} {number}")) for number in range(count)]

    async def was_used(self, library: ImageLibrary, owner: str) -> bool:
        """Return whether an upload of an owner with this key was stored before."""
        references = self.references(owner, 1)
        return references is not None and bool(await library.records.among(references))
