"""The application state: the parts of the service that handlers use."""

from litestar.datastructures import State

from progimage.auth import RateLimits, Signer
from progimage.http.middleware.authentication import KeyRing
from progimage.http.middleware.response_cache import ResponseCache
from progimage.images.ingest import Ingest
from progimage.images.library import ImageLibrary
from progimage.jobs import JobQueue
from progimage.settings import Settings


class ServiceState(State):
    """The contents of `app.state`, with types; the application sets them when it starts.

    Attributes:
        settings: The settings of the deployment.
        library: The images.
        ingest: Receives and fetches uploads.
        jobs: The queue of background jobs.
        signer: Signs and verifies requests and tickets.
        rates: The rate limits.
        key_ring: Looks up API keys.
        response_cache: Keeps responses in memory.
    """

    settings: Settings
    library: ImageLibrary
    ingest: Ingest
    jobs: JobQueue
    signer: Signer
    rates: RateLimits
    key_ring: KeyRing
    response_cache: ResponseCache
