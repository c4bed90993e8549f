"""The route of the web page."""

from pathlib import Path

from litestar import Response, route
from litestar.enums import MediaType

import progimage
from progimage.http.params import ANY_QUERY

PAGE = Path(progimage.__file__).parent / "web"
"""Folder with the files of the web page."""
_HOME = (PAGE / "index.html").read_bytes()


@route(
    "/",
    http_method=["GET", "HEAD"],
    include_in_schema=False,
    media_type=MediaType.HTML,
    sync_to_thread=False,
    opt=ANY_QUERY,
)
def home() -> Response[bytes]:
    """Return the web page."""
    return Response(_HOME, media_type=MediaType.HTML, headers={"cache-control": "no-cache"})
