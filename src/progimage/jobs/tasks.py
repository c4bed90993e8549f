"""Work of the background jobs; see `progimage.jobs` for the queue and the runner."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from typing import Any

import httpcore
import structlog

from progimage import clock
from progimage.auth import Caller, Principal, Scope, Visibility
from progimage.auth.caller import OPERATOR
from progimage.images.ingest import Ingest
from progimage.images.library import ImageLibrary, UploadOptions
from progimage.images.renderer import Rendition
from progimage.images.requests import preset, spec_of
from progimage.jobs import JobQueue, RetryLater
from progimage.jobs.runner import JobFailed, Work
from progimage.jobs.scrub import Scrubber
from progimage.metrics import PURGES_WAITING, SWEEPS_STOPPED
from progimage.problems import CLIENT_GONE, to_problem
from progimage.settings import Settings
from progimage.storage import CheckResult, ClockState, DiskCache, Renditions, UnknownReference
from progimage.storage.blobs.store import ORIGINALS
from progimage.storage.cache.renditions import owner_tag

log = structlog.get_logger(__name__)

_SWEPT_AT_ONCE = 500
"""Number of images handled in one transaction, before others get access to the database."""
REDESCRIBE_SLOT = 60
"""Interval and duration of jobs that inspect images again, while some have an outdated description, in seconds."""
SCRUB_SLOT = 60
"""Interval and duration of scrub jobs, in seconds."""
CLOCK_SECONDS = 60
"""How often each process reads the database's clock, in seconds."""
_DAY = 24 * 3600
_TOLD_AT_ONCE = 500
_PURGE_SECONDS = 10
_REDESCRIBED_AT_ONCE = 20
_NOBODY = "nobody"
"""Owner name for work on originals without an owner, whose bytes a sweep will remove."""


class Background:
    """Work of the jobs of one process.

    Args:
        settings: The settings.
        library: The image library.
        ingest: Fetches imported images.
        renditions: The rendition cache.
        caches: Caches on this node's disk.
        scrubber: Verifies stored bytes, or None.
        jobs: The queue.
    """

    def __init__(
        self,
        settings: Settings,
        library: ImageLibrary,
        ingest: Ingest,
        renditions: Renditions,
        caches: list[DiskCache],
        scrubber: Scrubber | None,
        jobs: JobQueue,
    ) -> None:
        self._settings, self._library, self._ingest = settings, library, ingest
        self._renditions, self._caches = renditions, caches
        self._scrubber, self._jobs = scrubber, jobs
        self.works: dict[str, Work] = {
            "prerender": self._prerender,
            "purge": self._purge_cdn,
            "import": self._import,
            "sweep": self._sweep,
            "trim": self._trim,
            "scrub": self._scrub,
            "redescribe": self._redescribe,
        }

    async def enqueue_periodic(self) -> None:
        """Add the periodic jobs that are due. If several processes do so, only the first job of each kind is added."""
        await self._jobs.adopt()
        slots = [("sweep", self._settings.sweep_seconds)]
        if self._scrubber:
            slots.append(("scrub", SCRUB_SLOT))
        if await self._library.catalogue.inventory.outdated(1):
            slots.append(("redescribe", REDESCRIBE_SLOT))
        if self._renditions.is_shared:
            slots.append(("trim", _DAY))
        for kind, seconds in slots:
            await self._jobs.put(kind, f"{kind}-{seconds}-{int(clock.now() // seconds)}", "", {})

    async def look_at_clock(self) -> ClockState:
        """Read the database's clock, and set the metrics that show whether expiry and purging are stopped."""
        state = await self._library.catalogue.clock.look()
        SWEEPS_STOPPED.labels("jump").set(bool(state.jump_seconds))
        SWEEPS_STOPPED.labels("start").set(bool(state.wait_seconds))
        return state

    async def tidy(self) -> None:
        """Remove cached files of deleted images from this node's disk, including images deleted by other nodes."""
        for cache in self._caches:
            known = await asyncio.to_thread(cache.originals)
            for first in range(0, len(known), _TOLD_AT_ONCE):
                owners = await self._library.catalogue.inventory.owners_of(known[first : first + _TOLD_AT_ONCE])
                for sha256, names in owners.items():
                    # Copies of originals have no owner; they are removed when no owner has an image of them.
                    tags = {owner_tag(name) for name in names} | ({ORIGINALS} if names else set())
                    await asyncio.to_thread(cache.keep_only, sha256, tags)

    async def _prerender(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Make renditions of an image ahead. Failures don't affect the others."""
        reference, made, failed = arguments["reference"], [], {}
        for name in arguments["renditions"]:
            try:
                record = await self._library.current(await self._library.get(reference))
                preset_name, _, extension = name.rpartition(".")
                asked = preset(preset_name, self._settings.preset_queries)
                spec = spec_of(extension, asked, record.blob.info, "", self._settings.auto_formats)
                caller = Caller(Principal(record.owner, frozenset()))
                await self._library.renderer.rendition(Rendition.of(record, spec), caller)
            except UnknownReference:
                return {"gone": True}
            except Exception as error:
                failed[name] = _final_problem(error)["detail"]
            else:
                made.append(name)
        return {"made": made, "failed": failed}

    async def _purge_cdn(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Purge an image from the CDN."""
        url = self._settings.purge_url
        if url is None:
            return {"gone": True}

        def filled(text: str) -> str:
            return text.replace("{reference}", arguments["reference"])

        url, method = filled(url), self._settings.purge_method
        body = b"" if method == "GET" else filled(self._settings.purge_body).encode()
        headers: dict[bytes | str, bytes | str] = {"content-type": "application/json"}
        headers |= {name: filled(value.get_secret_value()) for name, value in self._settings.purge_headers.items()}
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), _PURGE_SECONDS)
        try:
            async with httpcore.AsyncConnectionPool() as pool:
                response = await pool.request(
                    method, url, headers=headers, content=body, extensions={"timeout": timeouts}
                )
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise RetryLater({"detail": f"{url} can't be reached: {error!r}"}) from error
        # A GET that refreshes a deleted image returns 404, as intended.
        if response.status >= 300 and not (method == "GET" and response.status == 404):
            raise RetryLater({"detail": f"{url} returned {response.status}", "status": response.status})
        return {"status": response.status}

    async def _import(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Fetch an image and store it with the reference from the job, only once if the job runs again."""
        reference = arguments["reference"]
        try:
            record = await self._library.get(reference)
        except UnknownReference:
            principal = Principal(
                arguments["owner"], frozenset(Scope(scope) for scope in arguments["scopes"]), arguments["key_id"]
            )
            visibility = arguments["visibility"]
            options = UploadOptions(
                Visibility(visibility) if visibility else None,
                arguments["expires_at"],
                tuple(arguments["labels"]),
                arguments["metadata"],
                arguments.get("damaged", False),  # missing in jobs of earlier versions
            )
            try:
                with ExitStack() as files:
                    caller = Caller(principal, arguments["address"])
                    owner = await self._library.catalogue.owners.get(principal.owner)
                    share = self._ingest.share(files, caller, owner)
                    fetched = await self._ingest.fetch(arguments["url"], caller, files, share)
                    (record,) = await self._library.add(caller, [fetched], options, references=[reference])
            except Exception as error:
                raise JobFailed(_final_problem(error)) from error
        return {"reference": record.reference, "bytes": record.blob.bytes, "format": record.blob.info.format}

    async def _sweep(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Expire and purge images, and remove unused data, if the clock can be trusted."""
        library, settings = self._library, self._settings
        state = await self.look_at_clock()
        if not state.is_trusted:
            return {"waiting": state.reason()}
        expired = await _until_few(lambda: library.expire(_SWEPT_AT_ONCE))
        marked = await _until_few(lambda: library.records.mark_for_purge(_SWEPT_AT_ONCE))
        purged = await _until_few(lambda: library.purge_deleted(Caller(OPERATOR), _SWEPT_AT_ONCE))
        waiting = await library.records.waiting_for_purge(
            max(settings.undelete_seconds, settings.sweep_seconds) + 3 * settings.sweep_seconds
        )
        PURGES_WAITING.set(waiting)
        if waiting:
            log.error(
                "purges exceed the hourly limit",
                waiting=waiting,
                setting="PROGIMAGE_PURGE_SHARE",
            )
        reclaimed = await library.sweep(settings.orphan_grace_seconds)
        await library.records.forget_tickets()
        await library.catalogue.audit.trim(clock.now() - settings.audit_seconds)
        await self._jobs.forget(settings.jobs_kept_seconds)
        await asyncio.to_thread(library.catalogue.database.keep_statistics)
        return {"expired": expired, "marked": marked, "purged": purged, "reclaimed": reclaimed}

    async def _trim(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Remove old renditions from the shared store."""
        return {"removed": await self._renditions.forget_old(self._settings.shared_renditions_days)}

    async def _scrub(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Verify originals for a while, the longest unchecked first."""
        if self._scrubber is None:
            return {"checked": 0}
        end, checked, states = time.monotonic() + SCRUB_SLOT, 0, dict[str, int]()
        since = clock.now() - self._settings.scrub_days * _DAY
        results: AsyncIterator[CheckResult] = self._scrubber.scrub(since)
        async with aclosing(results):  # type: ignore[type-var]
            async for result in results:
                checked += 1
                states[result.state] = states.get(result.state, 0) + 1
                if time.monotonic() > end:
                    break
        return {"checked": checked, **states}

    async def _redescribe(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Inspect images with an outdated description again for a while, one at a time."""
        end, done, last = time.monotonic() + REDESCRIBE_SLOT, 0, ""
        inventory = self._library.catalogue.inventory
        while time.monotonic() < end and (batch := await inventory.outdated(_REDESCRIBED_AT_ONCE, last)):
            owners = await inventory.owners_of([blob.sha256 for blob in batch])
            for blob in batch:
                owner = min(owners[blob.sha256], default=_NOBODY)
                renewed = await self._library.redescription.redescribe(blob, owner)
                done += renewed.info.inspection > blob.info.inspection
                last = blob.sha256
        return {"done": done}


async def _until_few(work: Callable[[], Awaitable[int]]) -> int:
    """Repeat some work in batches until a batch isn't full, and return the total number of items."""
    total = 0
    while True:
        count = await work()
        total += count
        if count < _SWEPT_AT_ONCE:
            return total


def _final_problem(error: Exception) -> dict[str, Any]:
    """Return the problem document of an exception, if a retry can't help.

    Raises:
        RetryLater: A retry can help.
    """
    problem = to_problem(error)
    if problem.status >= 500 or problem.status in (408, 429, CLIENT_GONE) or problem.kind == "fetch-failed":
        if problem.status == 500:
            log.warning("unexpected error in a job", error=repr(error))
        raise RetryLater(problem.body()) from error
    return problem.body()
