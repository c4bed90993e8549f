"""All paths of the API."""

from progimage.http.operation import formats, healthz, home, metrics, readyz
from progimage.http.renditions import several_renditions
from progimage.http.storage import Storage
from progimage.http.transform import describe, transform

ROUTES = (Storage, several_renditions, transform, describe, formats, healthz, readyz, metrics, home)
