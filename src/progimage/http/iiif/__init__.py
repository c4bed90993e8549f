"""The IIIF Image API, versions 2.1 and 3.0: another way to request the same renditions.

https://iiif.io/api/image/3.0/ and https://iiif.io/api/image/2.1/
"""

from progimage.http.iiif.routes import IIIF

__all__ = ["IIIF"]
