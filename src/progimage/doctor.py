"""Checks of `progimage doctor`: configuration and state of the deployment on this node."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from PIL import Image

from progimage import plugins
from progimage.auth import RateLimits
from progimage.deployment import open_blobs, open_pool, open_second_blobs, require_one_file_system
from progimage.engine import Limits, RenditionSpec
from progimage.open_files import TooFewFiles, allow_files, needed_files
from progimage.settings import GiB, Settings
from progimage.storage import BlobStore, Catalogue, ScratchFolder, WrongStore, confirm_identity, deployment_id
from progimage.storage.database.images import PURGES_AN_HOUR
from progimage.storage.durable import PRIVATE
from progimage.workers import NOBODY, available_defences
from progimage.workers.tasks import RenderTask

_LITTLE_ROOM = 5 * GiB
_MOST_SKEW = 60
_TRIED = ("JPEG", "PNG", "WEBP", "AVIF", "HEIC", "JXL", "GIF", "TIFF")


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        what: Name of the check.
        verdict: `ok`, `warning` or `error`.
        detail: Explanation.
    """

    what: str
    verdict: str
    detail: str


async def examine(settings: Settings, catalogue: Catalogue) -> list[Finding]:
    """Run all checks and return their results."""
    checks: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [
        ("data folder", lambda: _data_folder(settings)),
        ("open files", lambda: _open_files(settings)),
        ("database", lambda: _database(settings, catalogue)),
        ("deployment", lambda: _deployment(settings, catalogue)),
        ("originals", lambda: _store("originals", settings.blobs, open_blobs, settings)),
        ("workers", lambda: _workers(settings)),
        ("defences", _defences),
        ("access", lambda: _access(settings, catalogue)),
        ("rate limits", lambda: _rate_limits(settings)),
        ("nodes", lambda: _nodes(settings, catalogue)),
        ("sweeps", lambda: _sweeps(settings, catalogue)),
        ("integrity", lambda: _integrity(settings, catalogue)),
    ]
    if settings.second_blobs_url:
        url = settings.second_blobs_url
        checks.append(("second store", lambda: _store("second store", url, open_second_blobs, settings)))
    if plugins.listed():
        checks.append(("plugins", _plugins))
    found = []
    for what, check in checks:
        try:
            found.append(await check())
        except Exception as error:
            found.append(Finding(what, "error", f"{type(error).__name__}: {error}"))
    return found


async def _data_folder(settings: Settings) -> Finding:
    data = settings.data_dir.absolute()
    with tempfile.NamedTemporaryFile(dir=data):
        free = shutil.disk_usage(data).free
    detail = f"{data} is writable; {free / GiB:.1f} GiB free"
    try:
        require_one_file_system(settings)
    except WrongStore as error:
        return Finding("data folder", "error", str(error))
    warnings = []
    # nginx, which sends originals itself, has access through the group.
    if data.stat().st_mode & (0o007 if settings.send_originals == "accel" else 0o077):
        warnings.append(f"other users have access: run `chmod {PRIVATE:o} {data}` unless that is intended")
    if free < _LITTLE_ROOM + settings.cache_bytes:
        warnings.append(f"the rendition cache alone may use {settings.cache_bytes / GiB:.1f} GiB")
    return Finding("data folder", "warning" if warnings else "ok", "; ".join((detail, *warnings)))


async def _open_files(settings: Settings) -> Finding:
    try:
        allow_files(settings)
    except TooFewFiles as error:
        return Finding("open files", "error", str(error))
    return Finding("open files", "ok", f"an HTTP process may open the {needed_files(settings)} files it needs")


async def _database(settings: Settings, catalogue: Catalogue) -> Finding:
    await catalogue.records.check()
    totals = await catalogue.inventory.totals()
    return Finding("database", "ok", f"{settings.database_shown} is reachable; {totals.images} images")


async def _deployment(settings: Settings, catalogue: Catalogue) -> Finding:
    if settings.blobs.startswith("memory:"):
        return Finding("deployment", "warning", "originals are stored in memory and lost at a restart")
    second = None
    with suppress(OSError):  # an unavailable second store is reported by a check of its own
        second = open_second_blobs(settings)
    try:
        await asyncio.to_thread(confirm_identity, catalogue.database, open_blobs(settings), second)
    except WrongStore as error:
        return Finding("deployment", "error", str(error))
    known = await asyncio.to_thread(deployment_id, catalogue.database)
    if known is None:
        return Finding("deployment", "warning", "no deployment yet; `progimage serve` creates one")
    return Finding("deployment", "ok", f"database and stores belong to deployment {known}")


async def _store(
    what: str, url: str, open_store: Callable[[Settings], BlobStore | None], settings: Settings
) -> Finding:
    store = open_store(settings)
    assert store is not None
    name, data = f"{'0' * 63}d", os.urandom(1024)
    with ExitStack() as files:
        scratch = ScratchFolder(settings.scratch_folder)
        files.callback(scratch.close)
        path = files.enter_context(scratch.file(scratch.incoming))
        path.write_bytes(data)
        await store.put(name, path)
        try:
            back = b"".join([chunk async for chunk in store.stream(name, 0, len(data))])
        finally:
            await asyncio.to_thread(store.delete, name)
    if back != data:
        return Finding(what, "error", f"{url} returned other bytes than were written")
    return Finding(what, "ok", f"{url}: write, read and delete work")


async def _workers(settings: Settings) -> Finding:
    """Convert an image to several formats in a worker, with all defences."""
    pool = open_pool(settings, Limits())
    with ExitStack() as files:
        scratch = ScratchFolder(settings.scratch_folder)
        files.callback(scratch.close)
        source, target = (files.enter_context(scratch.file(folder)) for folder in (scratch.incoming, scratch.outgoing))
        Image.radial_gradient("L").convert("RGB").save(source, "PNG")
        failed = []
        pool.start()
        try:
            for format in _TRIED:
                try:
                    await pool.run(RenderTask(RenditionSpec(format).canonical(), Limits()), NOBODY, [source], [target])
                except Exception as error:
                    failed.append(f"{format}: {error!r}")
        finally:
            await pool.close()
    if failed:
        return Finding("workers", "error", "; ".join(failed))
    return Finding("workers", "ok", f"a worker wrote {', '.join(_TRIED)}")


async def _defences() -> Finding:
    defences = available_defences()
    missing = [name for name, there in defences.items() if not there]
    if missing:
        return Finding("defences", "warning", f"not supported by this kernel: {', '.join(missing)}")
    return Finding("defences", "ok", ", ".join(defences))


async def _plugins() -> Finding:
    return Finding("plugins", "ok", ", ".join(plugins.listed()))


async def _access(settings: Settings, catalogue: Catalogue) -> Finding:
    active = [key for key in await catalogue.keys.all() if key.is_active]
    if settings.access is None and not settings.is_loopback:
        return Finding(
            "access", "error", f"{settings.host} is not a loopback address and PROGIMAGE_ACCESS is not set"
        )  # fmt: skip
    if settings.needs_keys and not active:
        return Finding("access", "error", "keys are required, but none exists: run `progimage keys create`")
    if settings.access is None and settings.trusted_proxies:
        return Finding(
            "access", "error", "PROGIMAGE_TRUSTED_PROXIES is set, but PROGIMAGE_ACCESS is not: forwarded requests are"
            " rejected"
        )  # fmt: skip
    if not settings.needs_keys and (not settings.is_loopback or settings.trusted_proxies or settings.public_url):
        return Finding("access", "warning", "anyone who can reach the service may upload and delete")
    if settings.visibility == "signed" and not settings.signing_keys:
        return Finding("access", "warning", "visibility is signed, but PROGIMAGE_SIGNING_KEYS is empty")
    who = f"{len(active)} active keys" if settings.needs_keys else "open on a loopback address"
    if settings.access is None:
        who += "; requests forwarded by a proxy are rejected until PROGIMAGE_ACCESS is set"
    return Finding("access", "ok", f"{who}; default visibility: {settings.visibility}")


async def _rate_limits(settings: Settings) -> Finding:
    rates = RateLimits(settings.rate_limits_url, "", "", None, None, lease_seconds=1)
    await rates.check()
    bounded = settings.requests_per_address or settings.requests_per_key or settings.renders_per_address
    if not bounded and not settings.is_loopback:
        return Finding("rate limits", "warning", "no rate limits are set")
    if bounded and settings.rate_limits_url == "memory://" and settings.http_processes > 1:
        return Finding("rate limits", "warning", "each HTTP process counts separately; use Redis to count together")
    return Finding("rate limits", "ok", settings.rate_limits_url.rpartition("@")[2])


async def _nodes(settings: Settings, catalogue: Catalogue) -> Finding:
    """Check whether several nodes can share this deployment, and compare this node's clock with the database's."""
    skew = await asyncio.to_thread(catalogue.database.clock_skew)
    if abs(skew) > _MOST_SKEW:
        return Finding("nodes", "error", f"this node's clock differs from the database's by {skew:+.0f} s")
    if settings.blobs_are_shared != settings.records_are_shared:
        shared, own = ("originals", "records") if settings.blobs_are_shared else ("records", "originals")
        return Finding("nodes", "warning", f"several nodes can share the {shared}, but the {own} are local")
    if settings.records_are_shared and settings.rate_limits_url == "memory://" and settings.requests_per_address:
        return Finding("nodes", "warning", "each node counts requests separately; use Redis to count together")
    return Finding(
        "nodes", "ok", "several nodes can share this deployment" if settings.records_are_shared else "single node"
    )  # fmt: skip


async def _sweeps(settings: Settings, catalogue: Catalogue) -> Finding:
    """Check whether images expire and are purged on time."""
    state = await catalogue.clock.look()
    waiting = await catalogue.records.waiting_for_purge(settings.undelete_seconds)
    detail = f"{waiting} deleted images waiting to be purged"
    if not state.is_trusted:
        return Finding("sweeps", "error" if state.jump_seconds else "warning", f"{detail}; {state.reason()}")
    if waiting > PURGES_AN_HOUR:
        return Finding("sweeps", "warning", f"{detail}; this takes hours, as limited by PROGIMAGE_PURGE_SHARE")
    return Finding("sweeps", "ok", detail)


async def _integrity(settings: Settings, catalogue: Catalogue) -> Finding:
    totals = await catalogue.inventory.totals()
    if totals.damaged:
        return Finding("integrity", "error", f"{totals.damaged} originals are damaged; run `progimage scrub`")
    if not settings.scrub_rate:
        return Finding("integrity", "warning", "the background scrub is off: PROGIMAGE_SCRUB_RATE is 0")
    return Finding("integrity", "ok", f"the background scrub reads {settings.scrub_rate} bytes per second")
