"""Which environment variables are settings: a misspelt one would leave a setting, and so a door, at its default."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

PREFIX = "PROGIMAGE_"
_OF_CLIENTS = frozenset(("PROGIMAGE_URL", "PROGIMAGE_KEY", "PROGIMAGE_COMPLETE"))
"""Variables of the command line, the client, and the shell's completion."""
# Kubernetes puts these into every pod, for each Service of the namespace whose name begins with "progimage".
_OF_KUBERNETES = re.compile(
    r"PROGIMAGE_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_ADDRESS_OF_KUBERNETES = re.compile(r"(?:tcp|udp|sctp)://.*")


def is_kubernetes_address(value: object) -> bool:
    """Return whether a value is what Kubernetes puts into `…_PORT`: the address of a Service, such as `tcp://10.0.0.1:80`."""
    return isinstance(value, str) and bool(_ADDRESS_OF_KUBERNETES.fullmatch(value))


def unknown_variables(environment: Mapping[str, str], settings: Iterable[str]) -> dict[str, str | None]:
    """Return the variables that are called like settings and are none, each with the setting that may be meant.

    Args:
        environment: All variables with their values.
        settings: The variables of all settings, in capitals.
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
    # The prefix, which all have, would make all alike.
    rests = sorted(one.removeprefix(PREFIX) for one in known)
    nearest = get_close_matches(name.removeprefix(PREFIX), rests, n=1)
    return f"{PREFIX}{nearest[0]}" if nearest else None


def complaints(unknown: Mapping[str, str | None]) -> list[str]:
    """Return what is to be said of unknown variables, a sentence for each."""
    return [
        f"{name} is no setting" + (f"; did you mean {nearest}?" if nearest else "; docs/settings.md lists all")
        for name, nearest in sorted(unknown.items())
    ]
