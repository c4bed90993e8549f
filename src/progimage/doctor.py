"""The doctor: looks at a deployment as it is set up here, and says what is wrong with it."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from PIL import Image

from progimage.auth import RateLimits
from progimage.deployment import open_blobs, open_pool, open_second_blobs, require_one_file_system
from progimage.engine import Limits, RenditionSpec
from progimage.open_files import TooFewFiles, allow_files, needed_files
from progimage.settings import GiB, Settings
from progimage.storage import BlobStore, Catalogue, Spool, WrongStore, confirm_identity, deployment_id
from progimage.storage.database.images import PURGES_AN_HOUR
from progimage.storage.durable import PRIVATE
from progimage.workers import NOBODY, available_defences
from progimage.workers.tasks import RenderTask

_LITTLE_ROOM = 5 * GiB
_MOST_SKEW = 60
_TRIED = ("JPEG", "PNG", "WEBP", "AVIF", "HEIC", "JXL", "GIF", "TIFF")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found.

    Attributes:
        what: What was looked at.
        verdict: `well`, `thought` (worth one), or `wrong`.
        detail: In a sentence.
    """

    what: str
    verdict: str
    detail: str


async def examine(settings: Settings, catalogue: Catalogue) -> list[Finding]:
    """Look at everything, and say what was found."""
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
    found = []
    for what, check in checks:
        try:
            found.append(await check())
        except Exception as error:
            found.append(Finding(what, "wrong", f"{type(error).__name__}: {error}"))
    return found


async def _data_folder(settings: Settings) -> Finding:
    data = settings.data_dir.absolute()
    with tempfile.NamedTemporaryFile(dir=data):
        free = shutil.disk_usage(data).free
    detail = f"{data} can be written; {free / GiB:.1f} GiB are free"
    try:
        require_one_file_system(settings)
    except WrongStore as error:
        return Finding("data folder", "wrong", str(error))
    thoughts = []
    # nginx, which sends originals itself, is let in by the group.
    if data.stat().st_mode & (0o007 if settings.send_originals == "accel" else 0o077):
        thoughts.append(f"others than its owner can enter it: `chmod {PRIVATE:o} {data}`, unless that is meant")
    if free < _LITTLE_ROOM + settings.cache_bytes:
        thoughts.append(f"the cache alone may take {settings.cache_bytes / GiB:.1f} GiB")
    return Finding("data folder", "thought" if thoughts else "well", "; ".join((detail, *thoughts)))


async def _open_files(settings: Settings) -> Finding:
    try:
        allow_files(settings)
    except TooFewFiles as error:
        return Finding("open files", "wrong", str(error))
    return Finding("open files", "well", f"an HTTP process may have the {needed_files(settings)} open that it needs")


async def _database(settings: Settings, catalogue: Catalogue) -> Finding:
    await catalogue.records.check()
    totals = await catalogue.inventory.totals()
    return Finding("database", "well", f"{settings.database_shown} answers; {totals.images} images")


async def _deployment(settings: Settings, catalogue: Catalogue) -> Finding:
    if settings.blobs.startswith("memory:"):
        return Finding("deployment", "thought", "originals are kept in memory, and are gone after a restart")
    second = None
    with suppress(OSError):  # a second store that can't be opened is a finding of its own
        second = open_second_blobs(settings)
    try:
        await asyncio.to_thread(confirm_identity, catalogue.database, open_blobs(settings), second)
    except WrongStore as error:
        return Finding("deployment", "wrong", str(error))
    known = await asyncio.to_thread(deployment_id, catalogue.database)
    if known is None:
        return Finding("deployment", "thought", "there are no images here yet; `progimage serve` makes a deployment")
    return Finding("deployment", "well", f"database and stores belong to {known}")


async def _store(
    what: str, url: str, open_store: Callable[[Settings], BlobStore | None], settings: Settings
) -> Finding:
    store = open_store(settings)
    assert store is not None
    name, data = f"{'0' * 63}d", os.urandom(1024)
    with ExitStack() as files:
        spool = Spool(settings.data_dir.absolute() / "spool")
        files.callback(spool.close)
        path = files.enter_context(spool.file(spool.incoming))
        path.write_bytes(data)
        await store.put(name, path)
        try:
            back = b"".join([chunk async for chunk in store.stream(name, 0, len(data))])
        finally:
            await asyncio.to_thread(store.delete, name)
    if back != data:
        return Finding(what, "wrong", f"{url} did not give back what was put there")
    return Finding(what, "well", f"{url} takes, gives back and deletes")


async def _workers(settings: Settings) -> Finding:
    """Convert a picture to several formats in a worker, behind all defences."""
    pool = open_pool(settings, Limits())
    with ExitStack() as files:
        spool = Spool(settings.data_dir.absolute() / "spool")
        files.callback(spool.close)
        source, target = (files.enter_context(spool.file(folder)) for folder in (spool.incoming, spool.outgoing))
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
        return Finding("workers", "wrong", "; ".join(failed))
    return Finding("workers", "well", f"a worker wrote {', '.join(_TRIED)}")


async def _defences() -> Finding:
    defences = available_defences()
    missing = [name for name, there in defences.items() if not there]
    if missing:
        return Finding("defences", "thought", f"this kernel does not have {', '.join(missing)}")
    return Finding("defences", "well", ", ".join(defences))


async def _access(settings: Settings, catalogue: Catalogue) -> Finding:
    active = [key for key in await catalogue.keys.all() if key.is_active]
    if settings.access is None and not settings.is_loopback:
        return Finding("access", "wrong", f"{settings.host} is no loopback address, and PROGIMAGE_ACCESS is not set")
    if settings.needs_keys and not active:
        return Finding("access", "wrong", "keys are needed, and there is none: `progimage keys create`")
    if settings.access is None and settings.trusted_proxies:
        return Finding(
            "access", "wrong", "PROGIMAGE_TRUSTED_PROXIES is set and PROGIMAGE_ACCESS is not: what a proxy forwards is"
            " refused"
        )  # fmt: skip
    if not settings.needs_keys and (not settings.is_loopback or settings.trusted_proxies or settings.public_url):
        return Finding("access", "thought", "everybody who can reach the service may upload and delete")
    if settings.visibility == "signed" and not settings.signing_keys:
        return Finding("access", "thought", "images are read with signatures, and PROGIMAGE_SIGNING_KEYS is empty")
    who = f"{len(active)} active keys" if settings.needs_keys else "open on a loopback address"
    if settings.access is None:
        who += ", and what a proxy forwards is refused, until PROGIMAGE_ACCESS is set"
    return Finding("access", "well", f"{who}; reads are {settings.visibility}")


async def _rate_limits(settings: Settings) -> Finding:
    rates = RateLimits(settings.rate_limits_url, "", "", None, None, lease_seconds=1)
    await rates.check()
    bounded = settings.requests_per_address or settings.requests_per_key or settings.renders_per_address
    if not bounded and not settings.is_loopback:
        return Finding("rate limits", "thought", "no client's requests are bounded")
    if bounded and settings.rate_limits_url == "memory://" and settings.http_processes > 1:
        return Finding("rate limits", "thought", "each HTTP process counts for itself; Redis would count for all")
    return Finding("rate limits", "well", settings.rate_limits_url.rpartition("@")[2])


async def _nodes(settings: Settings, catalogue: Catalogue) -> Finding:
    """See whether several nodes could share this deployment, and whether this one's clock is right."""
    skew = await asyncio.to_thread(catalogue.database.clock_skew)
    if abs(skew) > _MOST_SKEW:
        return Finding("nodes", "wrong", f"this node's clock is {skew:+.0f} s away from the database's")
    if settings.blobs_are_shared != settings.records_are_shared:
        shared, own = ("originals", "records") if settings.blobs_are_shared else ("records", "originals")
        return Finding("nodes", "thought", f"{shared} could be shared by several nodes, but {own} are on this one")
    if settings.records_are_shared and settings.rate_limits_url == "memory://" and settings.requests_per_address:
        return Finding("nodes", "thought", "each node counts requests for itself; Redis would count for all")
    return Finding("nodes", "well", "several can share this" if settings.records_are_shared else "this is the only one")


async def _sweeps(settings: Settings, catalogue: Catalogue) -> Finding:
    """See whether what is due expires and is purged."""
    state = await catalogue.clock.look()
    waiting = await catalogue.records.waiting_for_purge(settings.undelete_seconds)
    detail = f"{waiting} deleted images are to be purged"
    if not state.is_trusted:
        return Finding("sweeps", "wrong" if state.jump_seconds else "thought", f"{detail}; {state.reason()}")
    if waiting > PURGES_AN_HOUR:
        return Finding("sweeps", "thought", f"{detail}, which takes hours: PROGIMAGE_PURGE_SHARE bounds it")
    return Finding("sweeps", "well", detail)


async def _integrity(settings: Settings, catalogue: Catalogue) -> Finding:
    totals = await catalogue.inventory.totals()
    if totals.damaged:
        return Finding("integrity", "wrong", f"{totals.damaged} originals are damaged; see `progimage scrub`")
    if not settings.scrub_rate:
        return Finding("integrity", "thought", "nothing is scrubbed in the background: PROGIMAGE_SCRUB_RATE is 0")
    return Finding("integrity", "well", f"{settings.scrub_rate} bytes a second are read again in the background")
