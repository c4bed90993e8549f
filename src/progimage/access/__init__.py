"""Who may do what: keys and their owners, signed requests and tickets, rates, and where images may be fetched from."""

from progimage.access.fetching import Fetcher, FetchFailed, UrlRefused
from progimage.access.keys import ApiKey, BadKey, NewKey, new_key, parse_key
from progimage.access.principal import DEFAULT_OWNER, NOBODY, Client, Principal, Scope, Visibility, is_owner
from progimage.access.rates import RateLimits, TooManyRequests, client_name
from progimage.access.signing import EXPIRES, SIGNATURE, BadSignature, Signer, Ticket

__all__ = [
    "DEFAULT_OWNER",
    "EXPIRES",
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
    "Signer",
    "Ticket",
    "TooManyRequests",
    "UrlRefused",
    "Visibility",
    "client_name",
    "is_owner",
    "new_key",
    "parse_key",
]
