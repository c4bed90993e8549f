"""What both clients share: where the service is, who asks, how often is tried again, and the URLs of images."""

import os
import random
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx

from progimage.client.calls import Call, image_url

DEFAULT_URL = "http://127.0.0.1:5000"
_AGAIN = frozenset((429, 502, 503, 504))
_LONGEST_PAUSE = 30.0
_FIRST_PAUSE = 0.25


class Connecting:
    """The part of the clients that sends nothing.

    Args:
        url: Where the service is; by default what PROGIMAGE_URL says, or http://127.0.0.1:5000.
        key: An API key, if the service asks for one; by default what PROGIMAGE_KEY says.
        signing_key: A key of PROGIMAGE_SIGNING_KEYS, to sign URLs without asking the service.
        timeout: How long to wait for an answer to begin or go on, in seconds.
        attempts: How often a request is sent at most, while the service is busy or can't be reached.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        signing_key: str | None = None,
        timeout: float = 60.0,
        attempts: int = 5,
    ) -> None:
        """Keep the options; nothing is asked yet."""
        self.root = (url or os.environ.get("PROGIMAGE_URL") or DEFAULT_URL).rstrip("/")
        key = key or os.environ.get("PROGIMAGE_KEY")
        self._signing_key, self._attempts = signing_key, attempts
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._open({"base_url": self.root, "headers": headers, "timeout": timeout})

    def url(
        self, reference: str, extension: str | None = None, *, expires_in: int | None = None, **transformations: Any
    ) -> str:
        """Return the URL of an original, or of a rendition. Nothing is asked of the service.

        Args:
            reference: Of the image.
            extension: Of the format; None: the original. `auto` is what suits whoever opens it.
            expires_in: Sign it with the signing key, for so many seconds.
            transformations: As docs/transformations.md has them, such as `width=300`; lists are written with commas.

        Raises:
            ValueError: It is to be signed, and there is no signing key.
        """
        url = image_url(self.root, reference, extension, transformations)
        return url if expires_in is None else self.signed(url, expires_in)

    def srcset(
        self,
        reference: str,
        extension: str = "auto",
        widths: Iterable[int] = (320, 640, 960, 1280, 1920, 2560),
        **transformations: Any,
    ) -> str:
        """Return the `srcset` of an HTML image: the picture in several widths, in pixels."""
        return ", ".join(
            f"{self.url(reference, extension, **{**transformations, 'width': width})} {width}w" for width in widths
        )

    def iiif_url(
        self,
        reference: str,
        region: str = "full",
        size: str = "max",
        rotation: str = "0",
        quality: str = "default",
        extension: str = "jpg",
    ) -> str:
        """Return the URL of an image as the IIIF Image API 3.0 has it."""
        return f"{self.root}/iiif/3/{reference}/{region}/{size}/{rotation}/{quality}.{extension}"

    def signed(self, url: str, expires_in: int | None = None, method: str = "GET") -> str:
        """Return a URL of the service, signed with the signing key: whoever has it can make just that request.

        Args:
            url: It, or its path and query.
            expires_in: For how many seconds it is valid; None: for ever.
            method: The HTTP method.

        Raises:
            ValueError: There is no signing key.
        """
        from progimage.auth.signing import Signer

        if self._signing_key is None:
            raise ValueError("To sign URLs, the client needs a signing key.")
        parts = urlsplit(url)
        until = int(time.time()) + expires_in if expires_in is not None else None
        query = parse_qsl(parts.query, keep_blank_values=True)
        signed = Signer([self._signing_key]).sign(unquote(parts.path), query, until, method)
        root = f"{parts.scheme}://{parts.netloc}" if parts.netloc else self.root
        return f"{root}{signed}"

    def _open(self, options: dict[str, Any]) -> None:
        """Make what sends the requests."""
        raise NotImplementedError

    def _pause(self, call: Call[Any], attempt: int, response: httpx.Response | None) -> float | None:
        """Return how long to wait before a request is sent again, in seconds; None: it is not.

        Args:
            call: The request.
            attempt: How often it was sent.
            response: The answer, or None: there was none.
        """
        if attempt >= self._attempts or not call.may_be_repeated:
            return None
        if response is not None and response.status_code not in _AGAIN:
            return None
        after = response.headers.get("retry-after", "") if response is not None else ""
        usual = _FIRST_PAUSE * (1 << (attempt - 1)) * random.uniform(0.5, 1)  # noqa: S311
        return min(_LONGEST_PAUSE, max(usual, float(after) if after.isdigit() else 0))
