"""Every option of the service, in one place; docs/settings.md is made from this class."""

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MiB = 1024 * 1024
GiB = 1024 * MiB


class Settings(BaseSettings):
    """The options, each read from the environment variable PROGIMAGE_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="PROGIMAGE_", extra="forbid", frozen=True)

    host: Annotated[str, Field(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="The TCP port to listen on.")] = 5000
    data_dir: Annotated[
        Path, Field(description="The folder for everything that is kept locally; it is made if need be.")
    ] = Path("data")
    blobs_url: Annotated[
        str | None,
        Field(
            description="Where originals are kept: `file:///…`, `memory://` (for trying out; gone at the end), or a"
            " cloud store's URL such as `s3://bucket/prefix`. By default the folder `blobs` in the data folder."
        ),
    ] = None
    database_url: Annotated[
        str | None,
        Field(
            description="The database of records: `sqlite:///…` or `postgresql+psycopg://…`. By default SQLite in the"
            " data folder."
        ),
    ] = None
    cache_bytes: Annotated[
        int, Field(ge=0, description="How much disk the cache of renditions may take, in bytes.")
    ] = 2 * GiB
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
    worker_memory: Annotated[
        int, Field(ge=256 * MiB, description="The most address space of one worker, in bytes.")
    ] = 4 * GiB
    max_upload_bytes: Annotated[int, Field(ge=1, description="The largest image to take, in bytes.")] = 100 * MiB
    max_upload_parts: Annotated[int, Field(ge=1, description="The most images in one request.")] = 100
    max_pixels: Annotated[int, Field(ge=1, description="The most pixels in one frame or page.")] = 100_000_000
    max_frames: Annotated[int, Field(ge=1, description="The most frames or pages of an image.")] = 500
    max_total_pixels: Annotated[
        int, Field(ge=1, description="The most pixels in all frames or pages of an image together.")
    ] = 500_000_000
    cache_control: Annotated[
        str, Field(description="The Cache-Control of originals and renditions, which never change.")
    ] = "public, max-age=31536000, immutable"
    cors_origins: Annotated[
        list[str],
        Field(description='The origins whose pages may use the API, as a JSON list; `["*"]` is all, `[]` none.'),
    ] = ["*"]
    drain_seconds: Annotated[
        int, Field(ge=1, description="How long requests under way may take to end after SIGTERM, in seconds.")
    ] = 30
    orphan_grace_seconds: Annotated[
        int,
        Field(ge=1, description="How long the bytes of an original stay after its last reference was deleted."),
    ] = 3600
    sweep_seconds: Annotated[
        int, Field(ge=1, description="How often bytes without a reference are looked for, in seconds.")
    ] = 600
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="How log lines are written; `auto` is `console` on a terminal and else `json`."),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The least important lines to write.")
    ] = "info"

    @model_validator(mode="after")
    def _memory_is_of_one_process(self) -> "Settings":
        if self.blobs.startswith("memory:") and self.http_processes > 1:
            raise ValueError("blobs_url is memory://, which several http_processes can't share")
        return self

    @property
    def blobs(self) -> str:
        """The URL of the store of originals."""
        return self.blobs_url or (self.data_dir.absolute() / "blobs").as_uri()

    @property
    def database(self) -> str:
        """The URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'progimage.sqlite'}"

    @property
    def database_shown(self) -> str:
        """The URL of the database without its password."""
        parts = urlsplit(self.database)
        return self.database.replace(f":{parts.password}@", ":***@") if parts.password else self.database

    @property
    def workers_per_process(self) -> int:
        """How many workers each HTTP process has."""
        return max(1, self.workers // self.http_processes)
