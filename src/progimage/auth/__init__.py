"""Access control: API keys and owners, signed requests and tickets, rate limits."""

from progimage.auth.caller import DEFAULT_OWNER, NOBODY, Caller, Principal, Scope, Visibility, is_owner
from progimage.auth.keys import ApiKey, BadKey, NewKey, new_key, parse_key
from progimage.auth.rate_limits import RateLimits, TooManyRequests, caller_name
from progimage.auth.signing import EXPIRES, KEY_ID, SIGNATURE, BadSignature, Signed, Signer, Ticket, signing_key_id

__all__ = [
    "DEFAULT_OWNER",
    "EXPIRES",
    "KEY_ID",
    "NOBODY",
    "SIGNATURE",
    "ApiKey",
    "BadKey",
    "BadSignature",
    "Caller",
    "NewKey",
    "Principal",
    "RateLimits",
    "Scope",
    "Signed",
    "Signer",
    "Ticket",
    "TooManyRequests",
    "Visibility",
    "caller_name",
    "is_owner",
    "new_key",
    "parse_key",
    "signing_key_id",
]
