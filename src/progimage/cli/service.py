"""What the commands share that ask a running service: where it is, who asks, and how its problems are told."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import click


def asks_service(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options --url and --key, and hand it a client as its first argument."""

    @click.option("--url", envvar="PROGIMAGE_URL", help="Where the service is.  [default: http://127.0.0.1:5000]")
    @click.option("--key", envvar="PROGIMAGE_KEY", help="An API key; better in PROGIMAGE_KEY than on the command line.")
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
    """Read transformations that are given as NAME=VALUE; a flag needs no value.

    Raises:
        UsageError: One is given twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name in found:
            raise click.UsageError(f"{name} is given twice.")
        found[name] = value
    return found
