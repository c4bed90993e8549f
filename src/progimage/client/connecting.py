"""Shared base of both clients: connection options, retries, and URLs of images."""

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
    """Base class of the clients; sends no requests itself.

    Args:
        url: URL of the service. Default: PROGIMAGE_URL, or http://127.0.0.1:5000.
        key: API key, if the service requires one. Default: PROGIMAGE_KEY.
        signing_key: One of PROGIMAGE_SIGNING_KEYS, to sign URLs locally.
        timeout: How long to wait for a response to start or continue, in seconds.
        attempts: Maximum number of attempts per request while the service is busy or can't be reached.
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
        self.root = (url or os.environ.get("PROGIMAGE_URL") or DEFAULT_URL).rstrip("/")
        key = key or os.environ.get("PROGIMAGE_KEY")
        self._signing_key, self._attempts = signing_key, attempts
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._open({"base_url": self.root, "headers": headers, "timeout": timeout})

    def url(
        self, reference: str, extension: str | None = None, *, expires_in: int | None = None, **transformations: Any
    ) -> str:
        """Return the URL of an original or a rendition, without a request to the service.

        Args:
            reference: Reference of the image.
            extension: Extension of the format; None for the original. `auto` picks a format for each client.
            expires_in: Sign the URL with the signing key, with this lifetime in seconds.
            transformations: Parameters from docs/transformations.md, such as `width=300`; lists are joined with commas.

        Raises:
            ValueError: `expires_in` is set, but there is no signing key.
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
        """Return the `srcset` of an HTML image, with several widths in pixels."""
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
        """Return the URL of an image request of the IIIF Image API 3.0."""
        return f"{self.root}/iiif/3/{reference}/{region}/{size}/{rotation}/{quality}.{extension}"

    def signed(self, url: str, expires_in: int | None = None, method: str = "GET") -> str:
        """Sign a URL of the service with the signing key. Anyone with the URL can make exactly this request.

        Args:
            url: The URL, or its path and query.
            expires_in: Lifetime in seconds; None for no limit.
            method: HTTP method.

        Raises:
            ValueError: There is no signing key.
        """
        from progimage.auth.signing import Signer

        if self._signing_key is None:
            raise ValueError("Signing URLs requires a signing key.")
        parts = urlsplit(url)
        until = int(time.time()) + expires_in if expires_in is not None else None
        query = parse_qsl(parts.query, keep_blank_values=True)
        signed = Signer([self._signing_key]).sign(unquote(parts.path), query, until, method)
        root = f"{parts.scheme}://{parts.netloc}" if parts.netloc else self.root
        return f"{root}{signed}"

    def _open(self, options: dict[str, Any]) -> None:
        """Open the HTTP client."""
        raise NotImplementedError

    def _pause(self, call: Call[Any], attempt: int, response: httpx.Response | None) -> float | None:
        """Return how long to wait before the next attempt, in seconds, or None to give up.

        Args:
            call: The request.
            attempt: Number of attempts so far.
            response: The response, or None if there was none.
        """
        if attempt >= self._attempts or not call.may_be_repeated:
            return None
        if response is not None and response.status_code not in _AGAIN:
            return None
        after = response.headers.get("retry-after", "") if response is not None else ""
        usual = _FIRST_PAUSE * (1 << (attempt - 1)) * random.uniform(0.5, 1)  # noqa: S311
        return min(_LONGEST_PAUSE, max(usual, float(after) if after.isdigit() else 0))
