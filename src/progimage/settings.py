"""Every option of the service, in one place; docs/settings.md is made from this class."""

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
from progimage.variables import PREFIX, complaints, is_kubernetes_address, unknown_variables

MiB = 1024 * 1024
GiB = 1024 * MiB
_PRESET_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]+")
_SHORTEST_KEY = 16
_STORES = ("file", "memory", "s3", "gs", "az")
_DAY = 24 * 3600


class Settings(BaseSettings):
    """The options, each read from the environment variable PROGIMAGE_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    host: Annotated[str, Field(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="The TCP port to listen on; 0 is any free one.")] = 5000
    data_dir: Annotated[
        Path, Field(description="The folder for everything that is kept locally; it is made if need be.")
    ] = Path("data")
    public_url: Annotated[
        str | None,
        Field(
            description="Where clients reach the service, such as `https://images.example.org`, for documents that name"
            " their own address (IIIF). By default what the request says."
        ),
    ] = None
    deployment: Annotated[
        str | None,
        Field(
            description="The id of the deployment that database and stores have to have, as `progimage adopt` or the"
            " log at the start says. With it, an empty data folder, whose volume is not mounted, is not taken for a new"
            " deployment."
        ),
    ] = None
    blobs_url: Annotated[
        str | None,
        Field(
            description="Where originals are kept: `file:///…`, `memory://` (for trying out; gone at the end), or a"
            " cloud store's URL such as `s3://bucket/prefix`. By default the folder `blobs` in the data folder."
        ),
    ] = None
    blobs_options: Annotated[
        dict[str, SecretStr],
        Field(
            description="What the cloud store is told beside its URL, as a JSON object with obstore's names, such as"
            ' `{"endpoint": "http://store:8333", "access_key_id": "…", "secret_access_key": "…"}`.'
            " What is not here is taken from the cloud's own environment variables (`AWS_…`, `GOOGLE_…`, `AZURE_…`)."
        ),
    ] = {}
    store_seconds: Annotated[
        int,
        Field(
            ge=1,
            description="How long a cloud store may take for one request, and for how long a request that failed is"
            " tried again, in seconds; then the answer is 503.",
        ),
    ] = 10
    originals_cache_bytes: Annotated[
        int,
        Field(ge=0, description="How much disk copies of what is in a cloud store may take on this node, in bytes."),
    ] = 2 * GiB
    shared_renditions: Annotated[
        bool,
        Field(
            description="With a cloud store, keep renditions there, too, for all nodes: one that any of them has made"
            " is made by no other."
        ),
    ] = True
    shared_renditions_days: Annotated[
        int,
        Field(ge=1, description="After how many days renditions are removed from the cloud store."),
    ] = 30
    send_originals: Annotated[
        Literal["directly", "redirect", "accel"],
        Field(
            description="How originals are answered: `directly` from here; with a `redirect` to a signed URL of the"
            " cloud store; or by nginx, which is told of the file in the data folder (`accel`, `X-Accel-Redirect`)."
        ),
    ] = "directly"
    redirect_seconds: Annotated[
        int, Field(ge=60, le=7 * 24 * 3600, description="For how long such a signed URL works, in seconds.")
    ] = 3600
    accel_prefix: Annotated[
        str, Field(description="The internal location of nginx that stands for the folder of originals.")
    ] = "/_originals/"
    database_url: Annotated[
        str | None,
        Field(
            description="The database of records: `sqlite:///…` or `postgresql+psycopg://…`. By default SQLite in the"
            " data folder."
        ),
    ] = None
    database_connections: Annotated[
        int,
        Field(ge=1, description="The most connections to a PostgreSQL database, for each HTTP process."),
    ] = 10
    ladder: Annotated[
        bool,
        Field(
            description="Keep smaller copies of each image that is uploaded, 1024 and 512 pixels wide or high, from"
            " which small renditions are made many times faster. They take about a tenth of the original's bytes more."
        ),
    ] = True
    cache_bytes: Annotated[
        int, Field(ge=0, description="How much disk the cache of renditions may take, in bytes.")
    ] = 2 * GiB
    disk_reserve: Annotated[
        int,
        Field(
            ge=0,
            description="How many bytes of the data folder's file system are kept for the database, so that images can"
            " be deleted when the disk is full; at most a sixteenth of the file system.",
        ),
    ] = 64 * MiB
    max_renditions: Annotated[
        int,
        Field(
            ge=8,
            description="How many renditions of one image are cached; whoever asks for more has the oldest of that"
            " image go, and no other's.",
        ),
    ] = 1000
    access: Annotated[
        Literal["open", "keys"] | None,
        Field(
            description="Who may use the service: `open` is everybody, `keys` whoever has an API key (`progimage keys"
            " create`). It has to be said for any address that is not loopback, and is `open` there by default."
        ),
    ] = None
    visibility: Annotated[
        Visibility,
        Field(
            description="Who may read an image whose upload does not say: `public` is whoever knows its reference,"
            " `signed` its owner's keys and signed requests, `key` its owner's keys alone."
        ),
    ] = Visibility.PUBLIC
    trusted_proxies: Annotated[
        list[str],
        Field(description="The addresses or networks of proxies whose `X-Forwarded-For` is believed, as a JSON list."),
    ] = []
    requests_per_key: Annotated[
        str,
        Field(description="How many requests are answered for one API key, such as `100/second;5000/hour`."),
    ] = ""
    requests_per_address: Annotated[
        str,
        Field(
            description="The same for one network address, for requests without a key; of IPv6, for a network of 64"
            " bits."
        ),
    ] = ""
    renders_per_key: Annotated[
        int | None,
        Field(ge=1, description="How many uploads and renditions for one API key may use the workers at once."),
    ] = None
    renders_per_address: Annotated[
        int | None, Field(ge=1, description="The same for one network address, for requests without a key.")
    ] = None
    cpu_per_key: Annotated[
        str,
        Field(
            description="How many seconds of the workers' CPU time one API key may use, such as `60/minute;600/hour`;"
            " it is refilled as time goes by. Beyond it, answers that need a worker are 429."
        ),
    ] = ""
    cpu_per_address: Annotated[
        str, Field(description="The same for one network address, for requests without a key.")
    ] = ""
    rate_limits_url: Annotated[
        str,
        Field(
            description="Where requests are counted: `memory://`, for each HTTP process, or `redis://…`, for all nodes"
            " together."
        ),
    ] = "memory://"
    max_images_per_owner: Annotated[
        int | None, Field(ge=0, description="How many images an owner may have, unless its own quota says otherwise.")
    ] = None
    max_bytes_per_owner: Annotated[
        int | None,
        Field(ge=0, description="How many bytes of originals an owner may have, unless its own quota says otherwise."),
    ] = None
    http_processes: Annotated[int, Field(ge=1, description="How many processes speak HTTP.")] = 1
    workers: Annotated[
        int,
        Field(
            ge=1,
            description="How many worker processes touch pixels, shared out among the HTTP processes (each has at"
            " least one). By default one a core.",
        ),
    ] = len(os.sched_getaffinity(0))
    queue: Annotated[
        int,
        Field(
            ge=0,
            description="How many tasks may wait for a worker, for each HTTP process; then the answer is 503.",
        ),
    ] = 64
    task_seconds: Annotated[
        int, Field(ge=1, description="How long one decoding or rendering may take, in seconds.")
    ] = 30
    drawing_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="How much CPU time a task may take that draws an SVG, in seconds: what a drawing costs only"
            " drawing it tells.",
        ),
    ] = 3
    fonts: Annotated[
        Path | None,
        Field(
            description="A folder with fonts (`.ttf`, `.otf`, `.ttc`) for drawings and texts, beside those that come"
            " with the service. They are looked for when it starts. Fonts of the system are never used."
        ),
    ] = None
    worker_memory: Annotated[
        int, Field(ge=256 * MiB, description="The most address space of one worker, in bytes.")
    ] = 4 * GiB
    max_upload_bytes: Annotated[int, Field(ge=1, description="The largest image to take, in bytes.")] = 100 * MiB
    spool_bytes: Annotated[
        int,
        Field(
            ge=1,
            description="How many bytes of uploads may be on their way at once, for each HTTP process; at least twice"
            " `max_upload_bytes`. One client may have half of it.",
        ),
    ] = 8 * GiB
    max_upload_parts: Annotated[int, Field(ge=1, description="The most images in one request.")] = 100
    header_seconds: Annotated[
        int, Field(ge=1, description="How long a client may take to send a request's header, in seconds.")
    ] = 15
    idle_seconds: Annotated[
        int,
        Field(
            ge=1,
            description="How long a client may send nothing of a body, or take nothing of an answer, in seconds.",
        ),
    ] = 30
    upload_seconds: Annotated[
        int, Field(ge=1, description="How long a client may take to send a whole body, in seconds.")
    ] = 600
    upload_by_url: Annotated[
        bool,
        Field(description="Let clients upload by naming a URL from which the image is fetched (`?url=`)."),
    ] = False
    fetch_allow: Annotated[
        list[str],
        Field(
            description="Patterns of the hosts from which images may be fetched, as a JSON list, such as"
            ' `["*.example.org"]`; an empty list is all.'
        ),
    ] = []
    fetch_deny: Annotated[
        list[str], Field(description="Patterns of hosts that are refused even if `fetch_allow` has them.")
    ] = []
    fetch_ports: Annotated[
        list[int], Field(description="The TCP ports from which images may be fetched, as a JSON list.")
    ] = [80, 443]
    fetch_private_networks: Annotated[
        list[str],
        Field(description="Networks from which images may be fetched though they are not public, as a JSON list."),
    ] = []
    fetch_redirects: Annotated[int, Field(ge=0, description="How many redirects are followed.")] = 3
    fetch_seconds: Annotated[int, Field(ge=1, description="How long fetching an image may take, in seconds.")] = 30
    fetches_at_once: Annotated[
        int,
        Field(
            ge=1,
            description="How many images are fetched at once for one API key, or for one network address without a key;"
            " others wait.",
        ),
    ] = 4
    max_pixels: Annotated[int, Field(ge=1, description="The most pixels in one frame or page.")] = 100_000_000
    max_frames: Annotated[int, Field(ge=1, description="The most frames or pages of an image.")] = 500
    max_total_pixels: Annotated[
        int, Field(ge=1, description="The most pixels in all frames or pages of an image together.")
    ] = 500_000_000
    max_batch: Annotated[
        int, Field(ge=1, description="The most renditions in one request for several, `POST /storage/renditions`.")
    ] = 1000
    iiif_max_side: Annotated[
        int | None,
        Field(
            ge=1,
            description="The greatest width and height in pixels that an IIIF request may ask for; each image's"
            " description says so (`maxWidth`, `maxHeight`). By default there is none.",
        ),
    ] = None
    iiif_max_area: Annotated[
        int | None,
        Field(
            ge=1,
            description="The most pixels that an IIIF request may ask for; each image's description says so"
            " (`maxArea`). By default there is no other bound than `max_pixels`.",
        ),
    ] = None
    presets: Annotated[
        dict[str, str],
        Field(
            description="Named transformations for `?preset=`, as a JSON object of names and queries, such as"
            ' `{"avatar": "width=96&height=96&gravity=smart&radius=max"}`.'
        ),
    ] = {}
    transformations: Annotated[
        Literal["any", "presets"],
        Field(
            description="What unsigned requests may ask for: `any` transformation, or no other than `presets`. The"
            " choice of the format is always free."
        ),
    ] = "any"
    signing_keys: Annotated[
        list[SecretStr],
        Field(
            description="The secret keys of signed requests, as a JSON list. The first one signs (`progimage sign`),"
            " all of them verify."
        ),
    ] = []
    unnamed_signatures_until: Annotated[
        date,
        Field(
            description="Until when signatures work that name no key, as those made by version 0.1, as a date; a past"
            " one ends them."
        ),
    ] = date(2027, 5, 31)
    auto_formats: Annotated[
        list[str],
        Field(
            description="The formats that the extension `auto` prefers, the best first, as a JSON list; each is"
            " taken if the client says that it accepts it, and it can hold a rendition of that kind and size. Otherwise"
            " it is JPEG, PNG or GIF."
        ),
    ] = ["AVIF", "WEBP", "JXL"]
    cache_control: Annotated[
        str, Field(description="The Cache-Control of originals and renditions, which never change.")
    ] = "public, max-age=31536000, immutable"
    cors_origins: Annotated[
        list[str],
        Field(
            description="The origins of other sites whose pages may use all of the service, as a JSON list such as"
            ' `["https://shop.example.org"]`; `["*"]` is all. Scripts of any page may read public images; by default'
            " they can do no more."
        ),
    ] = []
    drain_seconds: Annotated[
        int, Field(ge=1, description="How long requests under way may take to end after SIGTERM, in seconds.")
    ] = 30
    prerender: Annotated[
        list[str],
        Field(
            description="The renditions to make of each image in the background as soon as it is uploaded, as a JSON"
            ' list of presets and extensions, such as `["avatar.webp", "avatar.jpg"]`.'
        ),
    ] = []
    jobs: Annotated[
        int,
        Field(
            ge=0,
            description="How many jobs in the background each HTTP process does at once; with 0, this node does none.",
        ),
    ] = 2
    jobs_kept_seconds: Annotated[
        int, Field(ge=60, description="For how long jobs that have ended can be looked at, in seconds.")
    ] = _DAY
    surrogate_header: Annotated[
        str,
        Field(
            description="A header that tells a CDN which image an answer is of, to purge by, such as `Surrogate-Key`,"
            " `Cache-Tag` or `xkey`; by default there is none."
        ),
    ] = ""
    purge_url: Annotated[
        str | None,
        Field(
            description="Where a CDN is told to forget an image that was deleted or made private. In this URL, the body"
            " and the headers, `{reference}` stands for the image's."
        ),
    ] = None
    purge_method: Annotated[
        Literal["POST", "PUT", "DELETE", "PURGE", "BAN", "GET"], Field(description="The method of that request.")
    ] = "POST"
    purge_body: Annotated[str, Field(description="Its body; a `GET` has none.")] = '{"surrogate_keys": ["{reference}"]}'
    purge_headers: Annotated[
        dict[str, SecretStr],
        Field(description='Its headers, as a JSON object, such as `{"Fastly-Key": "…"}`.'),
    ] = {}
    undelete_seconds: Annotated[
        int,
        Field(
            ge=0,
            description="For how long a deleted image can be brought back, in seconds; it counts as its owner's until"
            " then.",
        ),
    ] = _DAY
    orphan_grace_seconds: Annotated[
        int,
        Field(ge=1, description="How long the bytes of an original stay after its last reference was deleted."),
    ] = 3600
    sweep_seconds: Annotated[
        int,
        Field(
            ge=1,
            description="How often images that have expired, deleted ones, and bytes without a reference are looked"
            " for, in seconds.",
        ),
    ] = 600
    list_seconds: Annotated[
        int,
        Field(ge=1, description="How many seconds a list of images or of events may take; a longer one is refused."),
    ] = 5
    purge_share: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Which share of all images sweeps may purge in an hour; 1,000 they always may. What is more"
            " waits, and an alarm says so.",
        ),
    ] = 0.05
    clock_jump_seconds: Annotated[
        int,
        Field(
            ge=1,
            description="With SQLite: if this machine's clock goes ahead by more than so many seconds by itself,"
            " nothing expires and nothing is purged until `progimage sweeps resume`.",
        ),
    ] = 600
    scrub_rate: Annotated[
        int,
        Field(
            ge=0,
            description="How many bytes a second are read again in the background and held against their hash; 0 is"
            " none.",
        ),
    ] = MiB
    verify_seconds: Annotated[
        int,
        Field(
            ge=-1,
            description="For how many seconds the bytes of an original or a cached rendition that were held against"
            " their hash count as right when they are read again; 0: they are checked each time; -1: never, but for"
            " scrubbing.",
        ),
    ] = 0
    scrub_days: Annotated[
        int, Field(ge=1, description="After how many days the bytes of an original are read again.")
    ] = 30
    second_blobs_url: Annotated[
        str | None,
        Field(
            description="A second store with copies of the originals, from which damaged ones are restored; a URL like"
            " `blobs_url`."
        ),
    ] = None
    second_blobs_options: Annotated[
        dict[str, SecretStr], Field(description="What that store is told beside its URL; like `blobs_options`.")
    ] = {}
    audit_seconds: Annotated[
        int,
        Field(ge=_DAY, description="For how long the audit log is kept, in seconds, a day at least."),
    ] = 90 * _DAY
    metrics_token: Annotated[
        SecretStr | None,
        Field(description="What `/metrics` asks for as a bearer token; by default anybody may read it."),
    ] = None
    traces_url: Annotated[
        str | None,
        Field(
            description="Where traces are sent, as OTLP over HTTP, such as `http://collector:4318/v1/traces`; by"
            " default nowhere."
        ),
    ] = None
    traces_share: Annotated[
        float,
        Field(ge=0, le=1, description="The share of requests that are traced, from 0 to 1, unless the caller says."),
    ] = 1.0
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="How log lines are written; `auto` is `console` on a terminal and else `json`."),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The least important lines to write.")
    ] = "info"

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
            raise ValueError("blobs_url is memory://, which several http_processes can't share")
        return self

    @model_validator(mode="after")
    def _originals_can_be_sent_so(self) -> "Settings":
        if self.send_originals == "redirect" and urlsplit(self.blobs).scheme in ("file", "memory"):
            raise ValueError("send_originals is redirect, which only a cloud store can be the target of")
        if self.send_originals == "accel" and not self.blobs.startswith("file:"):
            raise ValueError("send_originals is accel, for which originals have to be in a folder")
        return self

    @model_validator(mode="after")
    def _prerendered_are_presets(self) -> "Settings":
        for name in self.prerender:
            preset, _, extension = name.rpartition(".")
            if preset not in self.presets:
                raise ValueError(f"prerender: {name} begins with no name of a preset")
            if not any(extension in format.extensions and format.can_write for format in FORMATS.values()):
                raise ValueError(f"prerender: {name} ends with no extension that can be written")
        return self

    @field_validator("presets")
    @classmethod
    def _presets_are_known(cls, presets: dict[str, str]) -> dict[str, str]:
        for name, query in presets.items():
            if not _PRESET_NAME.fullmatch(name):
                raise ValueError(f"the name {name!r} has other characters than letters, digits, _ and -")
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
                raise ValueError(f"{name} is no format that can be written")
        return names

    @field_validator("blobs_url", "second_blobs_url")
    @classmethod
    def _stores_are_known(cls, url: str | None) -> str | None:
        if url is not None and urlsplit(url).scheme not in _STORES:
            raise ValueError(f"{url} is the URL of no store; one begins with {', '.join(f'{s}:' for s in _STORES)}")
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
                raise ValueError(f"{origin!r} is no origin, such as https://shop.example.org, without a path")
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
            raise ValueError("it is neither memory:// nor the URL of a Redis server")
        return url

    @field_validator("signing_keys")
    @classmethod
    def _keys_are_long(cls, keys: list[SecretStr]) -> list[SecretStr]:
        if any(len(key.get_secret_value()) < _SHORTEST_KEY for key in keys):
            raise ValueError(f"a key has fewer than {_SHORTEST_KEY} characters")
        return keys

    @classmethod
    def variables(cls) -> set[str]:
        """The environment variables that are settings, in capitals, with their aliases."""
        names = {f"{PREFIX}{name.upper()}" for name in cls.model_fields}
        for field in cls.model_fields.values():
            alias = field.validation_alias
            aliases = alias.choices if isinstance(alias, AliasChoices) else [alias]
            names |= {name.upper() for name in aliases if isinstance(name, str)}
        return names

    @cached_property
    def preset_queries(self) -> dict[str, list[tuple[str, str]]]:
        """The names and values of each preset's query."""
        return {name: parse_qsl(query, keep_blank_values=True) for name, query in self.presets.items()}

    @property
    def blobs(self) -> str:
        """The URL of the store of originals."""
        return self.blobs_url or (self.data_dir.absolute() / "blobs").as_uri()

    @property
    def spool_room(self) -> int:
        """How many bytes of uploads may be on their way at once, such that a client may send the largest image."""
        return max(self.spool_bytes, 2 * self.max_upload_bytes)

    @property
    def blobs_are_shared(self) -> bool:
        """Whether originals are in a cloud store, which several nodes can share."""
        return urlsplit(self.blobs).scheme not in ("file", "memory")

    @property
    def database(self) -> str:
        """The URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'progimage.sqlite'}"

    @property
    def records_are_shared(self) -> bool:
        """Whether records are in a database that several nodes can share."""
        return not self.database.startswith("sqlite")

    @property
    def database_shown(self) -> str:
        """The URL of the database without its password."""
        parts = urlsplit(self.database)
        return self.database.replace(f":{parts.password}@", ":***@") if parts.password else self.database

    @property
    def needs_keys(self) -> bool:
        """Whether nobody may upload without an API key."""
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
        """How many workers each HTTP process has."""
        return max(1, self.workers // self.http_processes)
