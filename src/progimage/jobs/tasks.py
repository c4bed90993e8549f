"""What the jobs in the background do: see `progimage.jobs` for how they get done."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from typing import Any

import httpcore
import structlog

from progimage import clock
from progimage.auth import Client, Principal, Scope, Visibility
from progimage.auth.caller import OPERATOR
from progimage.images.ingest import Ingest
from progimage.images.library import ImageLibrary, Options
from progimage.images.requests import preset, spec_of
from progimage.jobs import JobQueue, Later
from progimage.jobs.runner import JobFailed, Work
from progimage.jobs.scrub import Scrubber
from progimage.metrics import PURGES_WAITING, SWEEPS_STOPPED
from progimage.problems import CLIENT_GONE, to_problem
from progimage.settings import Settings
from progimage.storage import ClockState, DiskCache, Finding, Renditions, UnknownReference
from progimage.storage.blobs.store import ORIGINALS
from progimage.storage.cache.renditions import owner_tag

log = structlog.get_logger(__name__)

_SWEPT_AT_ONCE = 500
"""How many images are ended in a row, before others get their turn at the database."""
REDESCRIBE_SLOT = 60
"""Every so many seconds a job begins that describes images anew, as long as some were described by older rules."""
SCRUB_SLOT = 60
"""Every so many seconds a job begins that scrubs for so long."""
CLOCK_SECONDS = 60
"""How often each process reads the database's clock, in seconds."""
_DAY = 24 * 3600
_TOLD_AT_ONCE = 500
_PURGE_SECONDS = 10
_REDESCRIBED_AT_ONCE = 20
_NOBODY = "nobody"
"""For whom a worker works on an image that nobody has any more, until its bytes are swept away."""


class Background:
    """Does the jobs of one process.

    Args:
        settings: The options.
        library: The images.
        ingest: Fetches what is imported.
        renditions: Those that were made.
        caches: What this node has on its disk of images.
        scrubber: Checks the stored bytes, or None.
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
        """Store the parts."""
        self._settings, self._library, self._ingest = settings, library, ingest
        self._renditions, self._caches = renditions, caches
        self._scrubber, self._jobs = scrubber, jobs
        self.works: dict[str, Work] = {
            "prerender": self._prerender,
            "purge": self._purge,
            "import": self._import,
            "sweep": self._sweep,
            "trim": self._trim,
            "scrub": self._scrub,
            "redescribe": self._redescribe,
        }

    async def remind(self) -> None:
        """Put in the jobs whose time has come; of all processes that do so, the first one is heard."""
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
        """Look at the database's clock, and say in the metrics whether expiry and purging wait for it."""
        state = await self._library.catalogue.clock.look()
        SWEEPS_STOPPED.labels("jump").set(bool(state.jump_seconds))
        SWEEPS_STOPPED.labels("start").set(bool(state.wait_seconds))
        return state

    async def tidy(self) -> None:
        """Remove from this node's disk what is cached of images that are deleted; other nodes may have deleted them."""
        for cache in self._caches:
            known = await asyncio.to_thread(cache.originals)
            for first in range(0, len(known), _TOLD_AT_ONCE):
                owners = await self._library.catalogue.inventory.owners_of(known[first : first + _TOLD_AT_ONCE])
                for sha256, names in owners.items():
                    # Copies of originals have no owner; they go when nobody has them.
                    tags = {owner_tag(name) for name in names} | ({ORIGINALS} if names else set())
                    await asyncio.to_thread(cache.keep_only, sha256, tags)

    async def _prerender(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Make renditions of an image before anybody asks; one that can't be made does not keep the others."""
        reference, made, failed = arguments["reference"], [], {}
        for name in arguments["renditions"]:
            try:
                record = await self._library.current(await self._library.get(reference))
                preset_name, _, extension = name.rpartition(".")
                asked = preset(preset_name, self._settings.preset_queries)
                spec = spec_of(extension, asked, record.blob.info, "", self._settings.auto_formats)
                await self._library.renderer.rendition(record, spec, Client(Principal(record.owner, frozenset())))
            except UnknownReference:
                return {"gone": True}
            except Exception as error:
                failed[name] = _final_problem(error)["detail"]
            else:
                made.append(name)
        return {"made": made, "failed": failed}

    async def _purge(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Tell the CDN to forget an image."""
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
                answer = await pool.request(
                    method, url, headers=headers, content=body, extensions={"timeout": timeouts}
                )
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise Later({"detail": f"{url} can't be reached: {error!r}"}) from error
        # Asking anew for what is gone is answered with a 404, and that is what is wanted.
        if answer.status >= 300 and not (method == "GET" and answer.status == 404):
            raise Later({"detail": f"{url} answered {answer.status}", "status": answer.status})
        return {"status": answer.status}

    async def _import(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Fetch an image and store it under the reference that the job has brought along: once, however often."""
        reference = arguments["reference"]
        try:
            record = await self._library.get(reference)
        except UnknownReference:
            principal = Principal(
                arguments["owner"], frozenset(Scope(scope) for scope in arguments["scopes"]), arguments["key_id"]
            )
            visibility = arguments["visibility"]
            options = Options(
                Visibility(visibility) if visibility else None,
                arguments["expires_at"],
                tuple(arguments["labels"]),
                arguments["metadata"],
                arguments.get("damaged", False),  # a job of before has not said it
            )
            try:
                with ExitStack() as files:
                    client = Client(principal, arguments["address"])
                    owner = await self._library.catalogue.owners.get(principal.owner)
                    share = self._ingest.share(files, client, owner)
                    fetched = await self._ingest.fetch(arguments["url"], client, files, share)
                    (record,) = await self._library.add(client, [fetched], options, references=[reference])
            except Exception as error:
                raise JobFailed(_final_problem(error)) from error
        return {"reference": record.reference, "bytes": record.blob.bytes, "format": record.blob.info.format}

    async def _sweep(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """End what is over, if the time can be relied on."""
        library, settings = self._library, self._settings
        state = await self.look_at_clock()
        if not state.is_trusted:
            return {"waiting": state.reason()}
        expired = await _until_few(lambda: library.expire(_SWEPT_AT_ONCE))
        marked = await _until_few(lambda: library.records.mark_for_purge(_SWEPT_AT_ONCE))
        purged = await _until_few(lambda: library.purge_deleted(Client(OPERATOR), _SWEPT_AT_ONCE))
        waiting = await library.records.waiting_for_purge(
            max(settings.undelete_seconds, settings.sweep_seconds) + 3 * settings.sweep_seconds
        )
        PURGES_WAITING.set(waiting)
        if waiting:
            log.error(
                "more images wait to be purged than an hour may purge",
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
        """Remove old renditions from the store that nodes share."""
        return {"removed": await self._renditions.forget_old(self._settings.shared_renditions_days)}

    async def _scrub(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Check stored bytes for a while, those that were not for the longest time first."""
        if self._scrubber is None:
            return {"checked": 0}
        end, checked, states = time.monotonic() + SCRUB_SLOT, 0, dict[str, int]()
        since = clock.now() - self._settings.scrub_days * _DAY
        findings: AsyncIterator[Finding] = self._scrubber.scrub(since)
        async with aclosing(findings):  # type: ignore[type-var]
            async for finding in findings:
                checked += 1
                states[finding.state] = states.get(finding.state, 0) + 1
                if time.monotonic() > end:
                    break
        return {"checked": checked, **states}

    async def _redescribe(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Describe images anew for a while that were described by older rules, one at a time."""
        end, done, last = time.monotonic() + REDESCRIBE_SLOT, 0, ""
        inventory = self._library.catalogue.inventory
        while time.monotonic() < end and (batch := await inventory.outdated(_REDESCRIBED_AT_ONCE, last)):
            owners = await inventory.owners_of([blob.sha256 for blob in batch])
            for blob in batch:
                owner = min(owners[blob.sha256], default=_NOBODY)
                renewed = await self._library.redescribe(blob, owner)
                done += renewed.info.inspection > blob.info.inspection
                last = blob.sha256
        return {"done": done}


async def _until_few(work: Callable[[], Awaitable[int]]) -> int:
    """Do some work on as many as are done at once, until there are fewer, and return how many there were."""
    total = 0
    while True:
        count = await work()
        total += count
        if count < _SWEPT_AT_ONCE:
            return total


def _final_problem(error: Exception) -> dict[str, Any]:
    """Return the problem that an exception stands for, if trying again would not help.

    Raises:
        Later: It may.
    """
    problem = to_problem(error)
    if problem.status >= 500 or problem.status in (408, 429, CLIENT_GONE) or problem.kind == "fetch-failed":
        if problem.status == 500:
            log.warning("a job met a fault", error=repr(error))
        raise Later(problem.body()) from error
    return problem.body()
