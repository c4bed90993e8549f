"""ProgImage: image storage and conversion over HTTP."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from progimage.client import AsyncClient, Client

__version__ = version("progimage")
__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> Any:
    # Only who asks for a client waits until it is loaded.
    if name in ("AsyncClient", "Client"):
        from progimage import client

        return getattr(client, name)
    raise AttributeError(name)
