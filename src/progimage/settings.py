"""All settings of the service. docs/settings.md is generated from the `Settings` class."""

import os
import re
from datetime import date
from functools import cached_property
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from progimage.auth import Visibility
from progimage.auth.rate_limits import parse_rates
from progimage.engine import FORMATS, InvalidParameter, RenditionSpec, check_fonts
from progimage.plugins import BUILT_IN_STORES, store_plugins
from progimage.variables import PREFIX, complaints, is_kubernetes_address, unknown_variables

MiB = 1024 * 1024
GiB = 1024 * MiB
_PRESET_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]+")
_SHORTEST_KEY = 16
_DAY = 24 * 3600


def _renamed(name: str, old: str) -> AliasChoices:
    """Return the variables of a renamed setting: the old name still works."""
    return AliasChoices(f"{PREFIX}{name}", f"{PREFIX}{old}")


class Settings(BaseSettings):
    """Settings, each read from the environment variable `PROGIMAGE_` plus its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 5000
    """TCP port to listen on; 0 picks a free one."""
    data_dir: Path = Path("data")
    """Folder for all local data. Created if missing."""
    public_url: str | None = None
    """Public URL of the service, such as `https://images.example.org`, for documents that contain their own address
    (IIIF). Default: taken from the request."""
    deployment: str | None = None
    """ID of the deployment that the database and the stores must belong to, as printed by `progimage adopt` and at
    startup. When set, an empty data folder (a volume that isn't mounted) isn't mistaken for a new deployment."""
    blobs_url: str | None = None
    """URL of the object store for originals: `file:///…`, `memory://` (for experiments; lost on exit), a cloud store
    such as `s3://bucket/prefix`, or a store that a plugin adds. Default: the folder `blobs` in the data folder."""
    blobs_options: dict[str, SecretStr] = {}
    """Options of the cloud store, as a JSON object with obstore's names, such as `{"endpoint":
    "http://store:8333", "access_key_id": "…", "secret_access_key": "…"}`. Missing options are taken from the
    cloud's own environment variables (`AWS_…`, `GOOGLE_…`, `AZURE_…`)."""
    store_seconds: Annotated[int, Field(ge=1)] = 10
    """Timeout of one request to a cloud store, and how long a failed request is retried, in seconds. After that, the
    response is 503."""
    originals_cache_bytes: Annotated[int, Field(ge=0)] = 2 * GiB
    """Maximum size of the local cache of files from a cloud store on this node, in bytes."""
    shared_renditions: bool = True
    """With a cloud store, also keep renditions there, shared by all nodes, so that each is made only once."""
    shared_renditions_days: Annotated[int, Field(ge=1)] = 30
    """Days after which renditions are removed from the cloud store."""
    send_originals: Literal["directly", "redirect", "accel"] = "directly"
    """How originals are sent: `directly` by the service; with a `redirect` to a signed URL of the cloud store; or by
    nginx from the data folder (`accel`, with `X-Accel-Redirect`)."""
    redirect_seconds: Annotated[int, Field(ge=60, le=7 * 24 * 3600)] = 3600
    """Lifetime of these signed URLs, in seconds."""
    accel_prefix: str = "/_originals/"
    """Internal nginx location that maps to the folder of originals."""
    database_url: str | None = None
    """URL of the database: `sqlite:///…` or `postgresql+psycopg://…`. Default: SQLite in the data folder."""
    database_connections: Annotated[int, Field(ge=1)] = 10
    """Maximum number of connections to PostgreSQL per HTTP process."""
    ladder: bool = True
    """Keep smaller copies of each uploaded image, 1024 and 512 pixels wide or high. Small renditions are made from
    them, many times faster. They add about a tenth to the size of the originals."""
    cache_bytes: Annotated[int, Field(ge=0)] = 2 * GiB
    """Maximum size of the rendition cache on disk, in bytes."""
    disk_reserve: Annotated[int, Field(ge=0)] = 64 * MiB
    """Space reserved for the database on the data folder's file system, in bytes, so that images can still be
    deleted when the disk is full. At most a sixteenth of the file system."""
    max_renditions: Annotated[int, Field(ge=8)] = 1000
    """Maximum number of cached renditions per image. Beyond it, the least recently used ones of that image are
    evicted; other images aren't affected."""
    access: Literal["open", "keys"] | None = None
    """Who may use the service: `open` (everyone) or `keys` (callers with an API key, see `progimage keys create`).
    Default on loopback addresses: `open`. Required on all other addresses."""
    visibility: Visibility = Visibility.PUBLIC
    """Default visibility of uploaded images: `public` (readable by anyone who knows the reference), `signed` (by the
    owner's keys and signed requests) or `key` (by the owner's keys only)."""
    trusted_proxies: list[str] = []
    """Addresses or networks of proxies whose `X-Forwarded-For` is trusted, as a JSON list."""
    requests_per_key: str = ""
    """Rate limit of requests per API key, such as `100/second;5000/hour`."""
    requests_per_address: str = ""
    """Rate limit of requests without a key, per network address (IPv6: per /64 network)."""
    renders_per_key: Annotated[int | None, Field(ge=1)] = None
    """Maximum number of concurrent uploads and renditions in the workers per API key."""
    renders_per_address: Annotated[int | None, Field(ge=1)] = None
    """Maximum number of concurrent uploads and renditions in the workers per network address, for requests without a
    key."""
    cpu_per_key: str = ""
    """Budget of the workers' CPU time per API key, in seconds, such as `60/minute;600/hour`. It refills over time.
    When it is used up, requests that need a worker return 429."""
    cpu_per_address: str = ""
    """Budget of the workers' CPU time per network address, in seconds, for requests without a key."""
    rate_limits_url: str = "memory://"
    """Where rate limits are counted: `memory://` (separately in each HTTP process) or `redis://…` (for all nodes
    together)."""
    max_images_per_owner: Annotated[int | None, Field(ge=0)] = None
    """Default quota of images per owner."""
    max_bytes_per_owner: Annotated[int | None, Field(ge=0)] = None
    """Default quota of bytes of originals per owner."""
    http_processes: Annotated[int, Field(ge=1)] = 1
    """Number of HTTP processes."""
    workers: Annotated[int, Field(ge=1)] = len(os.sched_getaffinity(0))
    """Number of worker processes, which decode and render images. Divided among the HTTP processes; each has at least
    one. Default: one per core."""
    queue: Annotated[int, Field(ge=0)] = 64
    """Maximum number of tasks waiting for a worker, per HTTP process. Beyond it, the response is 503."""
    task_seconds: Annotated[int, Field(ge=1)] = 30
    """Timeout of one decoding or rendering task, in seconds."""
    drawing_seconds: Annotated[float, Field(gt=0)] = 3
    """CPU time limit of a task that draws an SVG, in seconds. The cost of a drawing can't be estimated beforehand."""
    fonts: Path | None = None
    """Folder with additional fonts (`.ttf`, `.otf`, `.ttc`) for SVG drawings and text overlays. It is read at
    startup. System fonts are never used."""
    worker_memory: Annotated[int, Field(ge=256 * MiB)] = 4 * GiB
    """Maximum address space of one worker, in bytes."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = 100 * MiB
    """Maximum size of an uploaded image, in bytes."""
    scratch_bytes: Annotated[int, Field(ge=1, validation_alias=_renamed("SCRATCH_BYTES", "SPOOL_BYTES"))] = 8 * GiB
    """Maximum size of all uploads in progress per HTTP process, in bytes; at least twice `max_upload_bytes`. One client
    may use half of it."""
    max_upload_parts: Annotated[int, Field(ge=1)] = 100
    """Maximum number of images in one upload request."""
    header_seconds: Annotated[int, Field(ge=1)] = 15
    """Timeout for receiving the header of a request, in seconds."""
    idle_seconds: Annotated[int, Field(ge=1)] = 30
    """Idle timeout while a request body is received or a response is sent, in seconds."""
    upload_seconds: Annotated[int, Field(ge=1)] = 600
    """Timeout for receiving a whole request body, in seconds."""
    upload_by_url: bool = False
    """Allow uploads by URL: the service fetches the image (`?url=`)."""
    fetch_allow: list[str] = []
    """Patterns of hosts that images may be fetched from, as a JSON list, such as `["*.example.org"]`. An empty list
    allows all."""
    fetch_deny: list[str] = []
    """Patterns of hosts that are rejected even if `fetch_allow` matches, as a JSON list."""
    fetch_ports: list[int] = [80, 443]
    """TCP ports that images may be fetched from, as a JSON list."""
    fetch_private_networks: list[str] = []
    """Non-public networks that images may be fetched from, as a JSON list."""
    fetch_redirects: Annotated[int, Field(ge=0)] = 3
    """Maximum number of redirects to follow."""
    fetch_seconds: Annotated[int, Field(ge=1)] = 30
    """Timeout for fetching an image, in seconds."""
    fetches_at_once: Annotated[int, Field(ge=1)] = 4
    """Maximum number of concurrent fetches per API key, or per network address without a key. Others wait."""
    max_pixels: Annotated[int, Field(ge=1)] = 100_000_000
    """Maximum number of pixels in one frame or page."""
    max_frames: Annotated[int, Field(ge=1)] = 500
    """Maximum number of frames or pages of an image."""
    max_total_pixels: Annotated[int, Field(ge=1)] = 500_000_000
    """Maximum number of pixels in all frames or pages of an image together."""
    max_batch: Annotated[int, Field(ge=1)] = 1000
    """Maximum number of renditions in one `POST /storage/renditions` request."""
    iiif_max_side: Annotated[int | None, Field(ge=1)] = None
    """Maximum width and height of an IIIF request, in pixels. Published in `info.json` as `maxWidth` and `maxHeight`.
    Default: no limit."""
    iiif_max_area: Annotated[int | None, Field(ge=1)] = None
    """Maximum number of pixels of an IIIF request. Published in `info.json` as `maxArea`. Default: no limit besides
    `max_pixels`."""
    presets: dict[str, str] = {}
    """Named transformations for `?preset=`, as a JSON object that maps names to queries, such as `{"avatar":
    "width=96&height=96&gravity=smart&radius=max"}`."""
    transformations: Literal["any", "presets"] = "any"
    """Transformations allowed in unsigned requests: `any`, or only `presets`. Any format is allowed in either case."""
    signing_keys: list[SecretStr] = []
    """Secret keys for signed requests, as a JSON list. The first one signs (`progimage sign`); all of them verify."""
    unnamed_signatures_until: date = date(2027, 5, 31)
    """Date until which signatures without a key ID, as made by version 0.1, are accepted. Set a past date to reject
    them."""
    auto_formats: list[str] = ["AVIF", "WEBP", "JXL"]
    """Preferred formats of the extension `auto`, best first, as a JSON list. The first one is used that the client
    accepts and that can hold a rendition of this kind and size; otherwise JPEG, PNG or GIF."""
    cache_control: str = "public, max-age=31536000, immutable"
    """`Cache-Control` of originals and renditions, which never change."""
    cors_origins: list[str] = []
    """Origins of other sites whose pages may use the whole API, as a JSON list such as
    `["https://shop.example.org"]`; `["*"]` allows all. Scripts on any page may always read public images; by default
    they can do nothing else."""
    drain_seconds: Annotated[int, Field(ge=1)] = 30
    """Time that running requests have to finish after SIGTERM, in seconds."""
    prerender: list[str] = []
    """Renditions to make in the background after each upload, as a JSON list of preset names with extensions, such as
    `["avatar.webp", "avatar.jpg"]`."""
    jobs: Annotated[int, Field(ge=0)] = 2
    """Number of background jobs that each HTTP process runs at once. With 0, this node runs none."""
    jobs_kept_seconds: Annotated[int, Field(ge=60)] = _DAY
    """How long finished jobs are kept, in seconds."""
    surrogate_header: str = ""
    """Response header that names the image for purging in a CDN, such as `Surrogate-Key`, `Cache-Tag` or `xkey`.
    Default: none."""
    purge_url: str | None = None
    """URL for purging an image from a CDN after it was deleted or made private. `{reference}` in the URL, the body and
    the headers is replaced by the reference of the image."""
    purge_method: Literal["POST", "PUT", "DELETE", "PURGE", "BAN", "GET"] = "POST"
    """Method of the purge request."""
    purge_body: str = '{"surrogate_keys": ["{reference}"]}'
    """Body of the purge request; a `GET` has none."""
    purge_headers: dict[str, SecretStr] = {}
    """Headers of the purge request, as a JSON object, such as `{"Fastly-Key": "…"}`."""
    undelete_seconds: Annotated[int, Field(ge=0)] = _DAY
    """How long a deleted image can be restored, in seconds. Until then it counts towards its owner's quota."""
    orphan_grace_seconds: Annotated[int, Field(ge=1)] = 3600
    """How long the bytes of an original are kept after its last reference was deleted, in seconds."""
    sweep_seconds: Annotated[int, Field(ge=1)] = 600
    """Interval between sweeps, which remove expired and deleted images and bytes without a reference, in seconds."""
    list_seconds: Annotated[int, Field(ge=1)] = 5
    """Time limit for listing images or events, in seconds. Listings that take longer are aborted with an error."""
    purge_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Maximum share of all images that sweeps purge per hour, from 0 to 1; 1,000 images are always allowed. The rest
    waits, and an alarm reports it."""
    clock_jump_seconds: Annotated[int, Field(ge=1)] = 600
    """With SQLite: maximum jump of the machine's clock, in seconds. If the clock jumps ahead further, nothing expires
    or is purged until `progimage sweeps resume`."""
    scrub_rate: Annotated[int, Field(ge=0)] = MiB
    """Rate of the scrub, which verifies stored bytes against their hashes in the background, in bytes per second. 0
    turns it off."""
    verify_seconds: Annotated[int, Field(ge=-1)] = 0
    """How long the bytes of an original or a cached rendition count as verified after a check against their hash, in
    seconds. 0: they are checked on every read; -1: never, except by the scrub."""
    scrub_days: Annotated[int, Field(ge=1)] = 30
    """Days between two scrubs of the same original."""
    second_blobs_url: str | None = None
    """URL of a second store with copies of the originals, from which damaged ones are restored; see `blobs_url`."""
    second_blobs_options: dict[str, SecretStr] = {}
    """Options of the second store; see `blobs_options`."""
    audit_seconds: Annotated[int, Field(ge=_DAY)] = 90 * _DAY
    """How long entries of the audit log are kept, in seconds; at least one day."""
    metrics_token: SecretStr | None = None
    """Bearer token required for `/metrics`. Default: none; anyone may read it."""
    traces_url: str | None = None
    """URL that traces are sent to, as OTLP over HTTP, such as `http://collector:4318/v1/traces`. Default: none."""
    traces_sample_ratio: Annotated[
        float, Field(ge=0, le=1, validation_alias=_renamed("TRACES_SAMPLE_RATIO", "TRACES_SHARE"))
    ] = 1.0
    """Share of requests that are traced, from 0 to 1. A decision in the caller's trace context takes precedence."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """Format of log lines. `auto` is `console` on a terminal, otherwise `json`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum level of log lines."""

    @model_validator(mode="before")
    @classmethod
    def _variables_are_known(cls, values: Any) -> Any:
        unknown = unknown_variables(os.environ, cls.variables())
        if unknown:
            raise ValueError("; ".join(complaints(unknown)))
        return values

    @field_validator("port", mode="before")
    @classmethod
    def _port_is_not_of_kubernetes(cls, port: Any) -> Any:
        return cls.model_fields["port"].default if is_kubernetes_address(port) else port

    @model_validator(mode="after")
    def _memory_is_of_one_process(self) -> "Settings":
        if self.blobs.startswith("memory:") and self.http_processes > 1:
            raise ValueError("blobs_url memory:// can't be shared by several HTTP processes: set http_processes to 1")
        return self

    @model_validator(mode="after")
    def _originals_can_be_sent_so(self) -> "Settings":
        if self.send_originals == "redirect" and not self.blobs_are_in_cloud:
            raise ValueError("send_originals redirect requires a cloud store in blobs_url")
        if self.send_originals == "accel" and not self.blobs.startswith("file:"):
            raise ValueError("send_originals accel requires a file: URL in blobs_url")
        return self

    @model_validator(mode="after")
    def _prerendered_are_presets(self) -> "Settings":
        for name in self.prerender:
            preset, _, extension = name.rpartition(".")
            if preset not in self.presets:
                raise ValueError(f"prerender: {name} doesn't start with the name of a preset")
            if not any(extension in format.extensions and format.can_write for format in FORMATS.values()):
                raise ValueError(f"prerender: {name} doesn't end with the extension of a writable format")
        return self

    @field_validator("presets")
    @classmethod
    def _presets_are_known(cls, presets: dict[str, str]) -> dict[str, str]:
        for name, query in presets.items():
            if not _PRESET_NAME.fullmatch(name):
                raise ValueError(f"invalid preset name {name!r}: use 1 to 100 letters, digits, _ and -")
            try:
                RenditionSpec.parse("PNG", parse_qsl(query, keep_blank_values=True), drop_unfit=True)
            except InvalidParameter as error:
                raise ValueError(f"{name}: {error}") from None
        return presets

    @field_validator("auto_formats")
    @classmethod
    def _formats_can_be_written(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in FORMATS or not FORMATS[name].can_write:
                raise ValueError(f"{name} is not a writable format")
        return names

    @field_validator("blobs_url", "second_blobs_url")
    @classmethod
    def _stores_are_known(cls, url: str | None) -> str | None:
        known = (*BUILT_IN_STORES, *store_plugins())
        if url is not None and urlsplit(url).scheme not in known:
            raise ValueError(f"{url} is not the URL of a store: it must start with {', '.join(f'{s}:' for s in known)}")
        return url

    @field_validator("fonts")
    @classmethod
    def _fonts_can_be_read(cls, folder: Path | None) -> Path | None:
        if folder is not None:
            check_fonts(folder)
        return folder

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, origins: list[str]) -> list[str]:
        origins = [origin.lower() for origin in origins]
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin such as https://shop.example.org (without a path)")
        return origins

    @field_validator("requests_per_key", "requests_per_address", "cpu_per_key", "cpu_per_address")
    @classmethod
    def _rates_are_known(cls, text: str) -> str:
        parse_rates(text)
        return text

    @field_validator("trusted_proxies", "fetch_private_networks")
    @classmethod
    def _networks_are_networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            ip_network(network)
        return networks

    @field_validator("rate_limits_url")
    @classmethod
    def _limits_can_be_counted(cls, url: str) -> str:
        if url != "memory://" and urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("must be memory:// or the URL of a Redis server")
        return url

    @field_validator("signing_keys")
    @classmethod
    def _keys_are_long(cls, keys: list[SecretStr]) -> list[SecretStr]:
        if any(len(key.get_secret_value()) < _SHORTEST_KEY for key in keys):
            raise ValueError(f"a key must have at least {_SHORTEST_KEY} characters")
        return keys

    @classmethod
    def variables(cls) -> set[str]:
        """The environment variables of all settings, in capitals, including old names that still work."""
        return {f"{PREFIX}{name.upper()}" for name in cls.model_fields} | cls.renamed_variables().keys()

    @classmethod
    def renamed_variables(cls) -> dict[str, str]:
        """Old names of environment variables, which still work, and the names that replaced them."""
        aliases = (field.validation_alias for field in cls.model_fields.values())
        pairs = (alias.choices for alias in aliases if isinstance(alias, AliasChoices))
        return {str(old): str(name) for name, old in pairs}

    @cached_property
    def preset_queries(self) -> dict[str, list[tuple[str, str]]]:
        """Query parameters of each preset, as pairs of name and value."""
        return {name: parse_qsl(query, keep_blank_values=True) for name, query in self.presets.items()}

    @property
    def blobs(self) -> str:
        """URL of the store of originals."""
        return self.blobs_url or (self.data_dir.absolute() / "blobs").as_uri()

    @property
    def scratch_folder(self) -> Path:
        """The folder for scratch files; version 0.1 named it, and its leftovers are still swept."""
        return self.data_dir.absolute() / "spool"

    @property
    def scratch_limit(self) -> int:
        """Maximum size of all uploads in progress, in bytes: enough for one client to send the largest image."""
        return max(self.scratch_bytes, 2 * self.max_upload_bytes)

    @property
    def blobs_are_shared(self) -> bool:
        """Whether originals are in a cloud store, or in one that a plugin adds, which several nodes can share."""
        return urlsplit(self.blobs).scheme not in ("file", "memory")

    @property
    def blobs_are_in_cloud(self) -> bool:
        """Whether originals are in a cloud store."""
        return self.blobs_are_shared and urlsplit(self.blobs).scheme in BUILT_IN_STORES

    @property
    def database(self) -> str:
        """URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'progimage.sqlite'}"

    @property
    def records_are_shared(self) -> bool:
        """Whether records are in a database that several nodes can share."""
        return not self.database.startswith("sqlite")

    @property
    def database_shown(self) -> str:
        """URL of the database without the password."""
        parts = urlsplit(self.database)
        return self.database.replace(f":{parts.password}@", ":***@") if parts.password else self.database

    @property
    def needs_keys(self) -> bool:
        """Whether uploads require an API key."""
        return self.access == "keys"

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can reach the service."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def workers_per_process(self) -> int:
        """Number of workers of each HTTP process."""
        return max(1, self.workers // self.http_processes)
