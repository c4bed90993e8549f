"""All paths of the API."""

from progimage.http.iiif import IIIF
from progimage.http.routes.access import ACCESS
from progimage.http.routes.health import formats, healthz, home, metrics, parameters, readyz
from progimage.http.routes.images import change, list_images, remove, undelete
from progimage.http.routes.jobs import JOBS
from progimage.http.routes.renditions import several_renditions
from progimage.http.routes.storage import deliver, info, palette, placeholder
from progimage.http.routes.transform import describe, transform
from progimage.http.routes.uploads import import_list, make_ticket, upload, upload_form

_STORING = (upload, upload_form, import_list, make_ticket)
_LOOKING_AFTER = (list_images, change, remove, undelete)
_OPERATING = (formats, parameters, healthz, readyz, metrics, home)
_ANSWERING = (deliver, info, placeholder, palette, several_renditions)
ROUTES = (*_STORING, *_ANSWERING, *_LOOKING_AFTER, *IIIF, *ACCESS, *JOBS, transform, describe, *_OPERATING)
