"""Opening the store that a URL names."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError as StoreError
from obstore.store import MemoryStore, from_url

from progimage.storage.blobs.local import LocalBlobStore
from progimage.storage.blobs.store import BlobStore
from progimage.storage.cache.disk import DiskCache
from progimage.storage.scratch import Spool

_RETRIES = 100  # the time ends them, not their number


def open_blob_store(
    url: str,
    options: Mapping[str, str] | None = None,
    *,
    seconds: int = 10,
    copies: DiskCache | None = None,
    spool: Spool | None = None,
) -> BlobStore:
    """Open the store that a URL names: `file:///…`, `memory://`, or a cloud store's.

    Args:
        url: The URL.
        options: What a cloud store is told beside it, by obstore's names: `endpoint`, `region`, `access_key_id`, ….
        seconds: How long the store may take for one request, and how long it is tried again.
        copies: Keeps copies of what is read from a cloud store.
        spool: For scratch files; needed with `copies`.

    Raises:
        ValueError: The URL is of no known kind.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalBlobStore(Path(unquote(parts.path)))
    return BlobStore(open_object_store(url, options, seconds), copies, spool, seconds)


def open_object_store(url: str, options: Mapping[str, str] | None = None, seconds: int = 10) -> Any:
    """Open the obstore store of a URL that is no folder's; see `open_blob_store`.

    Raises:
        ValueError: The URL is of no known kind.
    """
    if urlsplit(url).scheme == "memory":
        return MemoryStore()
    limit = timedelta(seconds=seconds)
    plain = any(value.startswith("http://") for value in (options or {}).values())
    try:
        return from_url(
            url,
            config=dict(options or {}),  # type: ignore[call-overload]
            client_options={"timeout": limit, "connect_timeout": limit / 2, "allow_http": plain},
            retry_config={
                "max_retries": _RETRIES,
                "retry_timeout": limit,
                "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
            },
        )
    except StoreError as error:
        raise ValueError(str(error)) from error
