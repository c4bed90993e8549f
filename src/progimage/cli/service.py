"""Shared parts of the commands that talk to a running service: its URL, the API key, and its errors."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import click


def asks_service(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --url and --key to a command, and pass it a client as its first argument."""

    @click.option("--url", envvar="PROGIMAGE_URL", help="URL of the service.  [default: http://127.0.0.1:5000]")
    @click.option("--key", envvar="PROGIMAGE_KEY", help="API key. Prefer PROGIMAGE_KEY to the command line.")
    @functools.wraps(command)
    def with_client(*, url: str | None, key: str | None, **options: Any) -> Any:
        from progimage.client import Client, ProgImageError

        try:
            with Client(url, key) as client:
                return command(client, **options)
        except ProgImageError as error:
            raise click.ClickException(str(error)) from None

    return with_client


def transformations_of(given: Iterable[str]) -> dict[str, str]:
    """Parse NAME=VALUE arguments; a flag needs no value.

    Raises:
        UsageError: A name is given twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name in found:
            raise click.UsageError(f"{name} is given twice.")
        found[name] = value
    return found
