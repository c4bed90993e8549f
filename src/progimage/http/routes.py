"""All paths of the API."""

from progimage.http.access import ACCESS
from progimage.http.iiif import IIIF
from progimage.http.images import change, list_images, remove, undelete
from progimage.http.jobs import JOBS
from progimage.http.operation import formats, healthz, home, metrics, parameters, readyz
from progimage.http.renditions import several_renditions
from progimage.http.storage import deliver, info, palette, placeholder
from progimage.http.transform import describe, transform
from progimage.http.uploads import import_list, make_ticket, upload, upload_form

_STORING = (upload, upload_form, import_list, make_ticket)
_LOOKING_AFTER = (list_images, change, remove, undelete)
_OPERATING = (formats, parameters, healthz, readyz, metrics, home)
_ANSWERING = (deliver, info, placeholder, palette, several_renditions)
ROUTES = (*_STORING, *_ANSWERING, *_LOOKING_AFTER, *IIIF, *ACCESS, *JOBS, transform, describe, *_OPERATING)
