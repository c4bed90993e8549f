"""Who may do what: keys and their owners, signed requests and tickets, rates, and where images may be fetched from."""

from progimage.access.fetching import Fetcher, FetchFailed, TooManyFetches, UrlRefused
from progimage.access.keys import ApiKey, BadKey, NewKey, new_key, parse_key
from progimage.access.principal import DEFAULT_OWNER, NOBODY, Client, Principal, Scope, Visibility, is_owner
from progimage.access.rates import RateLimits, TooManyRequests, client_name
from progimage.access.signing import EXPIRES, KEY_ID, SIGNATURE, BadSignature, Signed, Signer, Ticket, signing_key_id

__all__ = [
    "DEFAULT_OWNER",
    "EXPIRES",
    "KEY_ID",
    "NOBODY",
    "SIGNATURE",
    "ApiKey",
    "BadKey",
    "BadSignature",
    "Client",
    "FetchFailed",
    "Fetcher",
    "NewKey",
    "Principal",
    "RateLimits",
    "Scope",
    "Signed",
    "Signer",
    "Ticket",
    "TooManyFetches",
    "TooManyRequests",
    "UrlRefused",
    "Visibility",
    "client_name",
    "is_owner",
    "new_key",
    "parse_key",
    "signing_key_id",
]
