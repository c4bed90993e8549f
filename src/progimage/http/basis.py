"""The basis of a response: the images in it, and the signature or key that allows it.

It is recorded while a request is handled. It decides who may cache the response, for how long, and what makes it
stale.
"""

from dataclasses import dataclass, field
from typing import Any

from progimage.auth import Visibility
from progimage.storage import Changes, Record

_BASIS = "progimage.basis"


@dataclass(frozen=True, slots=True)
class ImageInResponse:
    """An image in a response.

    Attributes:
        record: Its record.
        visibility: Who may read it; None: anyone who may use the operator's preset that adds it.
        parameter: The parameter that names it, such as `watermark`; None: the path names it.
    """

    record: Record
    visibility: Visibility | None
    parameter: str | None = None


@dataclass(slots=True)
class ResponseBasis:
    """The basis of one response.

    Attributes:
        images: The images in it, by reference.
        seen: Change state of each image and key, read before its lookup.
        is_signed: Whether the request has a valid signature.
        ends: Unix timestamps at which the signature or its key expires.
    """

    images: dict[str, ImageInResponse] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    is_signed: bool = False
    ends: list[float] = field(default_factory=list)

    def watch(self, id: str, changes: Changes) -> None:
        """Record the change state of an image or key; call this before the lookup."""
        self.seen.setdefault(id, changes.state(id))

    def add(self, image: ImageInResponse) -> None:
        """Record an image; if it is recorded twice, the stricter visibility counts."""
        known = self.images.get(image.record.reference)
        if known is None or known.visibility is None:
            self.images[image.record.reference] = image

    @property
    def ends_at(self) -> float | None:
        """Unix timestamp after which the response is no longer allowed; None: it always is."""
        records = (image.record for image in self.images.values())
        ends = [*self.ends, *(r.expires_at for r in records if r.expires_at is not None and not r.held)]
        return min(ends, default=None)

    @property
    def is_private(self) -> bool:
        """Whether shared caches must not store the response, since not everyone who has the URL may read it."""
        visibilities = {image.visibility for image in self.images.values()}
        return Visibility.KEY in visibilities or (Visibility.SIGNED in visibilities and not self.is_signed)


def basis_of(scope: Any) -> ResponseBasis:
    """Return the basis of the response to a request, which is kept in the ASGI scope."""
    basis: ResponseBasis | None = scope.get(_BASIS)
    if basis is None:
        basis = scope[_BASIS] = ResponseBasis()
    return basis
