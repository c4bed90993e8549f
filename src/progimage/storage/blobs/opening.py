"""Open a store by its URL."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError as StoreError
from obstore.store import MemoryStore, from_url

from progimage.plugins import store_plugins
from progimage.storage.blobs.added import AddedBlobStore, open_added_store
from progimage.storage.blobs.local import LocalBlobStore
from progimage.storage.blobs.store import BlobStore
from progimage.storage.cache.disk import DiskCache
from progimage.storage.scratch import ScratchFolder

_RETRIES = 100  # retries are limited by time, not by number


def open_blob_store(
    url: str,
    options: Mapping[str, str] | None = None,
    *,
    seconds: int = 10,
    copies: DiskCache | None = None,
    scratch: ScratchFolder | None = None,
) -> BlobStore:
    """Open a blob store.

    Args:
        url: URL of the store: `file:///…`, `memory://`, a cloud store, or the store of a plugin.
        options: Options of a cloud store, with obstore's names: `endpoint`, `region`, `access_key_id`, ….
        seconds: Timeout of one request, and how long requests are retried.
        copies: Cache for files read from a cloud store.
        scratch: For scratch files; required with `copies`.

    Raises:
        ValueError: The URL or an option is invalid.
        PluginError: The plugin of the store can't be used.
    """
    parts = urlsplit(url)
    if plugin := store_plugins().get(parts.scheme):
        return AddedBlobStore(open_added_store(plugin, url, dict(options or {}), seconds), copies, scratch, seconds)
    if parts.scheme == "file":
        return LocalBlobStore(Path(unquote(parts.path)))
    return BlobStore(open_object_store(url, options, seconds), copies, scratch, seconds)


def open_object_store(url: str, options: Mapping[str, str] | None = None, seconds: int = 10) -> Any:
    """Open the obstore store of a URL other than `file:`; see `open_blob_store`.

    Raises:
        ValueError: The URL or an option is invalid.
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
