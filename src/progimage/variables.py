"""Find misspelt environment variables: one would leave a setting, perhaps one for access control, at its default."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

PREFIX = "PROGIMAGE_"
_OF_CLIENTS = frozenset(("PROGIMAGE_URL", "PROGIMAGE_KEY", "PROGIMAGE_COMPLETE"))
"""Variables of the command line, the client, and shell completion."""
# Kubernetes sets these in every pod, for each Service of the namespace whose name begins with "progimage".
_OF_KUBERNETES = re.compile(
    r"PROGIMAGE_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_ADDRESS_OF_KUBERNETES = re.compile(r"(?:tcp|udp|sctp)://.*")


def is_kubernetes_address(value: object) -> bool:
    """Return whether a value is the address of a Service that Kubernetes sets in `…_PORT`: `tcp://10.0.0.1:80`."""
    return isinstance(value, str) and bool(_ADDRESS_OF_KUBERNETES.fullmatch(value))


def unknown_variables(environment: Mapping[str, str], settings: Iterable[str]) -> dict[str, str | None]:
    """Return the unknown variables that look like settings, each with the most similar setting, if any.

    Args:
        environment: All environment variables with their values.
        settings: Variables of all settings, in capitals.
    """
    known = set(settings)
    found: dict[str, str | None] = {}
    for name, value in environment.items():
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in known or upper in _OF_CLIENTS or _OF_KUBERNETES.fullmatch(upper):
            continue
        if upper.endswith("_PORT") and is_kubernetes_address(value):
            continue
        found[name] = _nearest(upper, known)
    return found


def _nearest(name: str, known: Iterable[str]) -> str | None:
    # The common prefix would make all names similar.
    rests = sorted(one.removeprefix(PREFIX) for one in known)
    nearest = get_close_matches(name.removeprefix(PREFIX), rests, n=1)
    return f"{PREFIX}{nearest[0]}" if nearest else None


def complaints(unknown: Mapping[str, str | None]) -> list[str]:
    """Return an error message for each unknown variable."""
    return [
        f"{name} is not a setting" + (f"; did you mean {nearest}?" if nearest else "; see docs/settings.md")
        for name, nearest in sorted(unknown.items())
    ]
