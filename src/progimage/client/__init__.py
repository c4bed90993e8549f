"""Python client for the HTTP API.

For example::

    from progimage import Client

    with Client("https://images.example.org", key="…") as images:
        photo = images.put("photo.heic", labels=["holiday"])
        images.download(photo.reference, "small.webp", width=300, height=300, gravity="smart")
        print(images.url(photo.reference, "jpg", width=800))

`AsyncClient` has the same methods as coroutines. See docs/client.md.
"""

from progimage.client.asynchronous import AsyncClient
from progimage.client.blocking import Client
from progimage.client.errors import ConnectionFailed, ProgImageError, ServiceError
from progimage.client.results import Account, Format, Image, Job, Placeholder, Rendition, Swatch, Ticket

__all__ = [
    "Account",
    "AsyncClient",
    "Client",
    "ConnectionFailed",
    "Format",
    "Image",
    "Job",
    "Placeholder",
    "ProgImageError",
    "Rendition",
    "ServiceError",
    "Swatch",
    "Ticket",
]
