"""Commands that create, list, verify and restore backups. They need no running service."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import click

from progimage.cli.environment import as_json, load_settings, opened, run, show
from progimage.cli.progress import Progress
from progimage.cli.service import transformations_of

if TYPE_CHECKING:
    from progimage.backup.target import Target
    from progimage.settings import Settings

_AGAIN = "Run the command again to continue."
_OPTIONS = click.option(
    "--option", "store_options", multiple=True, metavar="NAME=VALUE",
    help="Option of the cloud store, such as endpoint=…; repeatable. Set secrets in the cloud's own variables instead.",
)  # fmt: skip
_AT_ONCE = click.option(
    "--at-once", type=click.IntRange(1, 64), default=8, show_default=True, help="Number of files copied at once."
)


@click.command(
    epilog="""\b
Examples:
  progimage backup /mnt/backup
  progimage backup s3://bucket/progimage --option region=eu-west-1 --keep-days 30 --keep-last 7

TARGET is a folder, or the URL of a bucket and a prefix. The service can keep running. Only files that TARGET doesn't
have yet are copied. After an interruption, run the command again to continue. Exits with 1 if an original is damaged
or missing; all others are in the backup. Settings aren't backed up: keep a copy yourself."""
)
@click.argument("target")
@click.option("--keep-last", type=click.IntRange(min=1), help="Remove older backups, but keep the newest N.")
@click.option(
    "--keep-days", type=click.IntRange(min=0),
    help="Remove older backups, but keep those of the last N days.  [default: remove none]",
)  # fmt: skip
@click.option(
    "--read-back/--no-read-back", default=True, help="Read each copy again at the target.  [default: read-back]"
)
@click.option(
    "--take-over", is_flag=True,
    help="Write next to backups of another deployment, such as the one this was restored from.",
)  # fmt: skip
@_AT_ONCE
@_OPTIONS
@as_json
def backup(
    target: str,
    keep_last: int | None,
    keep_days: int | None,
    read_back: bool,
    take_over: bool,
    at_once: int,
    store_options: tuple[str, ...],
    json_: bool,
) -> None:
    """Back up the whole database, and all originals with their smaller copies."""
    from progimage.backup.making import BackupMaker, Retention
    from progimage.deployment import open_blobs, open_originals
    from progimage.storage import ScratchFolder
    from progimage.storage.database.migrations import newest

    settings = load_settings()
    with opened(settings, stores=True) as (catalogue, changes), _target(target, store_options, settings) as there:
        scratch, blobs = ScratchFolder(settings.scratch_folder), open_blobs(settings)
        originals = open_originals(settings, catalogue, blobs, changes, scratch)
        with Progress() as progress:
            maker = BackupMaker(
                catalogue, blobs, originals, there, newest(), at_once, read_back, progress.print, progress.advance
            )
            try:
                made = run(maker.make(Retention(keep_last, keep_days), progress.set_totals, take_over=take_over))
            finally:
                scratch.close()
    if json_:
        show([made], (), json=True)
    click.echo(
        f"{made.id}: {made.images} images, {made.blobs} originals, {made.bytes} bytes; {made.copied} files copied"
        f" ({made.copied_bytes} bytes), {made.missing} originals missing, {made.pruned} earlier backups removed",
        err=True,
    )
    sys.exit(1 if made.missing else 0)


@click.command(
    epilog="""\b
Examples:
  PROGIMAGE_DATA_DIR=/var/lib/restored progimage restore /mnt/backup
  progimage restore s3://bucket/progimage --backup 20270131

The deployment in the settings must have no images and must not be running. Everything else in its database, such as
keys, is replaced. After an interruption, run the command again to continue; the service doesn't start until the restore
is complete. The database and the store may be of a different kind than the ones backed up. Exits with 1 if an original
is missing from the backup."""
)
@click.argument("target")
@click.option("--backup", "id", help="ID of the backup, or the start of it.  [default: the newest]")
@_AT_ONCE
@_OPTIONS
@as_json
def restore(target: str, id: str | None, at_once: int, store_options: tuple[str, ...], json_: bool) -> None:
    """Restore a backup into a new deployment."""
    from progimage.backup.restoring import CannotRestore, Restorer
    from progimage.deployment import open_blobs, open_catalogue, open_second_blobs
    from progimage.logs import set_up_logging
    from progimage.storage import ScratchFolder, identify, in_use
    from progimage.storage.database.migrations import locked
    from progimage.storage.durable import PRIVATE, make_folder

    settings = load_settings()
    set_up_logging(settings.log_format, "warning")
    data = settings.data_dir.absolute()
    is_running = in_use(settings.scratch_folder)
    with _problems(), _target(target, store_options, settings, make=False) as there:
        make_folder(data, PRIVATE)
        scratch, blobs, catalogue = (
            ScratchFolder(settings.scratch_folder),
            open_blobs(settings),
            open_catalogue(settings),
        )
        second = open_second_blobs(settings)
        try:
            if is_running or catalogue.database.has_other_users():
                raise CannotRestore("The deployment, or another command, is running. Stop all its nodes first.")
            with locked(settings.database, data / "migration.lock"), Progress() as progress:
                restorer = Restorer(
                    catalogue.database,
                    blobs,
                    scratch,
                    there,
                    there.wanted(id),
                    at_once,
                    progress.print,
                    progress.advance,
                )
                one = partial(identify, catalogue.database, blobs, second, adopt=True)
                restored = run(restorer.restore(progress.set_totals, one))
        finally:
            catalogue.close()
            scratch.close()
    if json_:
        show([restored], (), json=True)
    click.echo(
        f"{restored.id}: {restored.images} images; {restored.copied} files copied ({restored.copied_bytes} bytes),"
        f" {restored.there} already there, {restored.missing} originals missing",
        err=True,
    )
    sys.exit(1 if restored.missing else 0)


@click.group()
def backups() -> None:
    """List and verify the backups in a target."""


@backups.command("list")
@click.argument("target")
@_OPTIONS
@as_json
def list_backups(target: str, store_options: tuple[str, ...], json_: bool) -> None:
    """List the backups in a target, newest first."""
    settings = load_settings()
    with _problems(), _target(target, store_options, settings, make=False) as there:
        show(there.manifests(), ("id", "images", "blobs", "bytes", "missing"), json=json_)


@backups.command("verify")
@click.argument("target")
@click.option("--backup", "id", help="ID of the backup, or the start of it.  [default: the newest]")
@_AT_ONCE
@_OPTIONS
@as_json
def verify_backup(target: str, id: str | None, at_once: int, store_options: tuple[str, ...], json_: bool) -> None:
    """Read all files of a backup, and verify their hashes.

    Prints damaged, missing and unreadable files. The next backup copies damaged and missing ones again. Exits with 1 if
    there are any.
    """
    from progimage.backup.verifying import verify

    settings = load_settings()
    with _problems(), _target(target, store_options, settings, make=False) as there, Progress() as progress:
        found = run(verify(there, there.wanted(id), at_once, progress.set_totals, progress.advance))
    show(found, ("name", "state"), json=json_)
    click.echo(f"{len(found)} damaged or missing", err=True)
    sys.exit(1 if found else 0)


@contextmanager
def _target(
    place: str, store_options: tuple[str, ...], settings: "Settings", *, make: bool = True
) -> "Iterator[Target]":
    from progimage.backup.target import Target

    with _problems():
        there = Target(place, transformations_of(store_options), settings.data_dir.absolute(), make=make)
        try:
            yield there
        finally:
            there.close()


@contextmanager
def _problems() -> Iterator[None]:
    """Turn expected errors into one-line messages."""
    from obstore.exceptions import BaseError as StoreError

    from progimage.backup.copying import NotKept
    from progimage.backup.restoring import CannotRestore
    from progimage.backup.snapshot import BadSnapshot
    from progimage.backup.target import BadTarget
    from progimage.storage import DatabaseUnavailable, WrongStore, store_problem
    from progimage.storage.database.holds import HoldLost

    try:
        yield
    except (BadTarget, BadSnapshot, CannotRestore) as error:
        raise click.ClickException(str(error)) from None
    except (NotKept, HoldLost, DatabaseUnavailable, WrongStore) as error:
        raise click.ClickException(f"{error} {_AGAIN}") from None
    except StoreError as error:
        raise click.ClickException(f"A store is unavailable: {store_problem(error)} {_AGAIN}") from None
    except OSError as error:
        again = f" {_AGAIN}" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO) else ""
        raise click.ClickException(f"{error.filename or 'A file'} can't be written: {error.strerror}.{again}") from None
