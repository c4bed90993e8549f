"""All routes of the API."""

from progimage.http.iiif import IIIF
from progimage.http.routes.added import with_added
from progimage.http.routes.audit import read_audit
from progimage.http.routes.formats import formats, parameters
from progimage.http.routes.health import healthz, readyz
from progimage.http.routes.images import change, list_images, remove, undelete
from progimage.http.routes.jobs import JOBS
from progimage.http.routes.keys import KEYS
from progimage.http.routes.metrics import metrics
from progimage.http.routes.owners import OWNERS
from progimage.http.routes.page import home
from progimage.http.routes.renditions import several_renditions
from progimage.http.routes.representations import deliver, info, palette, placeholder
from progimage.http.routes.signatures import sign
from progimage.http.routes.tickets import make_ticket
from progimage.http.routes.transform import describe, transform
from progimage.http.routes.uploads import import_list, upload, upload_form

_UPLOADS = (upload, upload_form, import_list, make_ticket)
_REPRESENTATIONS = (deliver, info, placeholder, palette, several_renditions)
_MANAGEMENT = (list_images, change, remove, undelete)
_ACCESS = (*KEYS, *OWNERS, sign, read_audit)
_OPERATION = (formats, parameters, healthz, readyz, metrics, home)
_OWN = (*_UPLOADS, *_REPRESENTATIONS, *_MANAGEMENT, *IIIF, *_ACCESS, *JOBS, transform, describe, *_OPERATION)
ROUTES = with_added(_OWN)
