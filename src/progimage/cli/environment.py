"""Shared parts of the commands: the settings, the database, and printing results.

Modules of the service are imported where they are needed, so that `--help` is fast.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from progimage.settings import Settings
    from progimage.storage import Catalogue, Changes

_T = TypeVar("_T")
as_json = click.option("--json", "json_", is_flag=True, help="Print JSON, one line per item.")


def load_settings() -> "Settings":
    """Read the settings from the environment.

    Raises:
        ClickException: A setting is invalid.
    """
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from progimage.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        lines = [_fault(str(one["msg"]), one["loc"]) for one in error.errors()]
        raise click.ClickException("\n".join(["Invalid settings:", *lines])) from None
    except SettingsError as error:
        raise click.ClickException(f"Invalid settings: {error}") from None


def _fault(message: str, where: "Sequence[Any]") -> str:
    message = message.removeprefix("Value error, ")
    if not where:
        return message
    return f"PROGIMAGE_{'_'.join(map(str, where)).upper().removeprefix('PROGIMAGE_')}: {message}"


@contextmanager
def opened(settings: "Settings", *, stores: bool = False, make: bool = False) -> "Iterator[tuple[Catalogue, Changes]]":
    """Open the database of a deployment, and the channel that notifies a running service of changes.

    Args:
        settings: Settings of the deployment.
        stores: Also check that the stores belong to the deployment.
        make: Create the database if it doesn't exist.

    Raises:
        ClickException: The database or a store is unavailable, or belongs to another deployment.
    """
    from obstore.exceptions import BaseError as StoreError

    from progimage.deployment import identify_stores, open_catalogue, open_disk_space
    from progimage.logs import set_up_logging
    from progimage.storage import Changes, DatabaseUnavailable, WrongStore, store_problem
    from progimage.storage.database.migrations import is_there, migrate
    from progimage.storage.durable import PRIVATE, make_folder

    set_up_logging(settings.log_format, "warning")  # to standard error, apart from the results
    data = settings.data_dir.absolute()
    try:
        if not make and not is_there(settings.database):
            raise click.ClickException(
                f"There is no deployment here yet: {settings.database_shown} has no ProgImage database. Check"
                " PROGIMAGE_DATA_DIR and PROGIMAGE_DATABASE_URL; `progimage serve` creates a deployment."
            )
        make_folder(data, PRIVATE)
        space = open_disk_space(settings)
        space.keep_writable()
        migrate(settings.database, data / "migration.lock")
        changes = Changes(data / "changes")
    except OSError as error:
        raise click.ClickException(f"The data folder is unusable: {error}") from None
    except DatabaseUnavailable as error:
        raise click.ClickException(str(error)) from None
    catalogue = open_catalogue(settings, space=space)
    try:
        if stores:
            identify_stores(settings, catalogue.database)
        yield catalogue, changes
    except (DatabaseUnavailable, WrongStore) as error:
        raise click.ClickException(str(error)) from None
    except StoreError as error:
        raise click.ClickException(f"A store is unavailable: {store_problem(error)}") from None
    finally:
        catalogue.close()
        changes.close()


def run(work: "Coroutine[Any, Any, _T]") -> "_T":
    """Run a coroutine.

    Raises:
        ClickException: There is no such API key.
    """
    from progimage.storage import UnknownKey

    try:
        return asyncio.run(work)
    except UnknownKey as error:
        raise click.ClickException(f"There is no active key {error}.") from None


def checked(read: "Callable[[str], _T]", text: str) -> "_T":
    """Parse an option as the HTTP API does.

    Raises:
        ClickException: It is invalid.
    """
    from progimage.engine import InvalidParameter

    try:
        return read(text)
    except InvalidParameter as error:
        raise click.ClickException(str(error)) from None


def checked_owner(owner: str) -> str:
    """Return the name of an owner if it is valid.

    Raises:
        ClickException: It is invalid.
    """
    from progimage.auth import is_owner

    if not is_owner(owner):
        raise click.ClickException(
            f"Invalid owner name {owner!r}: use 1 to 64 letters, digits, '.', '_', '@' and '-', starting with a letter"
            " or digit."
        )
    return owner


def show(documents: Iterable[Any], columns: Sequence[str], *, json: bool) -> None:
    """Print documents as JSON, or the given fields of each as a table."""
    import msgspec

    if json:
        for document in documents:
            click.echo(msgspec.json.encode(document).decode())
        return
    rows = [[_cell(msgspec.to_builtins(document)[column]) for column in columns] for document in documents]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={_cell(part)}" for name, part in value.items())
    return str(value)
