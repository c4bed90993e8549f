"""Commands for access control: keys, owners, audit log, signed requests and tickets. They need no running service."""

import time
import uuid
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import click

from progimage.cli.environment import as_json, checked, checked_owner, load_settings, opened, run, show

_KEY_COLUMNS = ("id", "owner", "name", "scopes", "active", "created_at", "expires_at")
_OWNER_COLUMNS = ("owner", "images", "bytes", "max_images", "max_bytes", "retention_seconds")
_EVENT_COLUMNS = ("at", "action", "owner", "key_id", "address", "reference", "detail")
_SCOPES = ("upload", "read", "delete", "transform", "admin")


@click.group()
def keys() -> None:
    """Create, list, rotate and revoke API keys."""


@keys.command("create")
@click.option("--owner", default="default", show_default=True, help="Owner that the key acts for.")
@click.option("--name", default="", help="Description of the key.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(_SCOPES),
    help="Scope of the key; repeatable.  [default: all except admin]",
)
@click.option("--expires", help="Expiry: a date, or a duration such as 90d.  [default: never]")
@as_json
def create(owner: str, name: str, scopes: tuple[str, ...], expires: str | None, json_: bool) -> None:
    """Create a key and print it. The key itself isn't stored, so it can't be shown again."""
    from progimage.auth import Caller, Scope
    from progimage.auth.caller import OPERATOR

    checked_owner(owner)
    allowed = frozenset(map(Scope, scopes or _SCOPES[:-1]))
    expires_at = _expiry(expires) if expires else None
    with opened(load_settings(), make=True) as (catalogue, _):
        made = run(catalogue.keys.create(Caller(OPERATOR), owner, name, allowed, expires_at))
    if json_:
        from progimage.schemas import NewKeyDocument

        show([NewKeyDocument.of_new(made.key, made.text)], (), json=True)
    else:
        click.echo(f"{made.key.id}: {', '.join(sorted(allowed))} for {owner}", err=True)
        click.echo(made.text)


@keys.command("list")
@click.option("--owner", help="Only keys of this owner.")
@as_json
def list_(owner: str | None, json_: bool) -> None:
    """List all keys, including revoked ones, without the keys themselves."""
    from progimage.schemas import KeyDocument

    with opened(load_settings()) as (catalogue, _):
        found = run(catalogue.keys.all(owner))
    show(map(KeyDocument.of, found), _KEY_COLUMNS, json=json_)


@keys.command("revoke")
@click.argument("id")
def revoke(id: str) -> None:
    """Revoke a key: on this node at once, on other nodes within five seconds."""
    from progimage.auth import Caller
    from progimage.auth.caller import OPERATOR

    with opened(load_settings()) as (catalogue, changes):
        key = run(catalogue.keys.revoke(Caller(OPERATOR), id))
        changes.mark(id)
    click.echo(f"revoked key {key.id} of owner {key.owner}", err=True)


@keys.command("rotate")
@click.argument("id")
@click.option(
    "--grace", default="1d", show_default=True, help="How long the old key stays valid: a duration such as 12h."
)
def rotate(id: str, grace: str) -> None:
    """Print a new key with the same scopes. The old key ends after a grace period."""
    from progimage.auth import Caller
    from progimage.auth.caller import OPERATOR

    seconds = 0.0 if grace == "0" else _expiry(grace) - time.time()
    with opened(load_settings()) as (catalogue, changes):
        made = run(catalogue.keys.rotate(Caller(OPERATOR), id, seconds))
        changes.mark(id)
    click.echo(f"{made.key.id} replaces {id}", err=True)
    click.echo(made.text)


@click.group()
def owners() -> None:
    """List owners, and set their quotas and retention."""


@owners.command("list")
@as_json
def list_owners(json_: bool) -> None:
    """List all owners with their usage and quotas."""
    from progimage.schemas import OwnerDocument

    with opened(load_settings()) as (catalogue, _):
        found = run(catalogue.owners.all())
        documents = [OwnerDocument.of(owner, catalogue.owners.quota_of(owner)) for owner in found]
    show(documents, _OWNER_COLUMNS, json=json_)


@owners.command("set")
@click.argument("owner")
@click.option("--max-images", type=click.IntRange(min=0), help="Quota of images.  [default: from the settings]")
@click.option("--max-bytes", type=click.IntRange(min=0), help="Quota of bytes.  [default: from the settings]")
@click.option("--retention", help="Time after which images expire: a duration such as 90d.  [default: never]")
@as_json
def set_owner(owner: str, max_images: int | None, max_bytes: int | None, retention: str | None, json_: bool) -> None:
    """Set the quotas and the retention of an owner. Options that are left out return to their defaults."""
    from progimage.auth import Caller
    from progimage.auth.caller import OPERATOR
    from progimage.schemas import OwnerDocument
    from progimage.storage import Quota

    checked_owner(owner)
    seconds = round(_expiry(retention) - time.time()) if retention else None
    with opened(load_settings(), make=True) as (catalogue, _):
        found = run(catalogue.owners.set(Caller(OPERATOR), owner, Quota(max_images, max_bytes), seconds))
        document = OwnerDocument.of(found, catalogue.owners.quota_of(found))
    show([document], _OWNER_COLUMNS, json=json_)


@click.command()
@click.option("--action", help="Only this action, such as upload, delete, key-create, refused.")
@click.option("--owner", help="Only events that affect this owner.")
@click.option("--reference", help="Only events that affect this image.")
@click.option("--after", help="Only events since this date.")
@click.option("--before", help="Only events before this date.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Maximum number of events.")
@as_json
def audit(
    action: str | None,
    owner: str | None,
    reference: str | None,
    after: str | None,
    before: str | None,
    limit: int,
    json_: bool,
) -> None:
    """Show the audit log, newest first."""
    from progimage.images.options import date
    from progimage.schemas import EventDocument
    from progimage.storage import EventFilter

    since = checked(lambda text: date("after", text), after) if after else None
    until = checked(lambda text: date("before", text), before) if before else None
    with opened(load_settings()) as (catalogue, _):
        events = run(catalogue.audit.find(EventFilter(action, owner, reference, since, until), limit))
    show(map(EventDocument.of, events), _EVENT_COLUMNS, json=json_)


@click.command()
@click.argument("url")
@click.option("--expires", type=click.IntRange(min=1), help="Lifetime in seconds.  [default: unlimited]")
@click.option("--method", default="GET", help="HTTP method.  [default: GET]")
def sign(url: str, expires: int | None, method: str) -> None:
    """Sign the path and query of a request, such as '/storage/….webp?width=300'.

    Uses the first of PROGIMAGE_SIGNING_KEYS, which the service must know, too.
    """
    from progimage.auth import Signer

    parts = urlsplit(url)
    until = int(time.time()) + expires if expires else None
    query = parse_qsl(parts.query, keep_blank_values=True)
    signed = Signer(_signing_keys()).sign(unquote(parts.path), query, until, method)
    click.echo(url[: url.index(parts.path)] + signed if parts.path else signed)


@click.command()
@click.option("--owner", default="default", show_default=True, help="Owner of the image.")
@click.option("--max-bytes", type=click.IntRange(min=1), required=True, help="Maximum size of the upload, in bytes.")
@click.option("--expires", type=click.IntRange(min=1), default=600, show_default=True, help="Lifetime in seconds.")
@click.option("--visibility", type=click.Choice(["public", "signed", "key"]), help="Who may read the image.")
@click.option("--label", "labels", multiple=True, help="Label of the image; repeatable.")
@click.option("--damaged", type=click.Choice(["refuse", "accept"]), help="Whether to accept images with lost pixels.")
def ticket(
    owner: str, max_bytes: int, expires: int, visibility: str | None, labels: tuple[str, ...], damaged: str | None
) -> None:
    """Print a path to which a client without a key may PUT one image, once.

    Uses the first of PROGIMAGE_SIGNING_KEYS, which the service must know, too.
    """
    from progimage.auth import Signer, Ticket, Visibility
    from progimage.images.options import checked_labels

    made = Ticket(
        str(uuid.uuid4()),
        owner,
        None,
        max_bytes,
        int(time.time()) + expires,
        Visibility(visibility) if visibility else None,
        labels=checked(lambda _: checked_labels(labels), ""),
        damaged=damaged == "accept",
    )
    click.echo(f"/storage/?{urlencode({'ticket': Signer(_signing_keys()).issue(made)})}")


def _expiry(text: str) -> float:
    """Return a date, or the end of a duration that starts now, as a Unix timestamp."""
    from progimage.images.options import expiry

    return checked(expiry, text)


def _signing_keys() -> list[str]:
    keys = [key.get_secret_value() for key in load_settings().signing_keys]
    if not keys:
        raise click.ClickException("PROGIMAGE_SIGNING_KEYS is empty; set it to a JSON list of keys.")
    return keys
