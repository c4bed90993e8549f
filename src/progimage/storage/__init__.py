"""Where things are kept: blobs (originals and ladders), records, renditions (a cache), the spool (scratch files)."""

from progimage.storage.blobs import BlobMissing, BlobStore, open_blob_store
from progimage.storage.deletions import Deletions
from progimage.storage.records import Blob, Record, Records, RecordsUnavailable
from progimage.storage.renditions import RenditionCache
from progimage.storage.spool import Spool, sweep_spools

__all__ = [
    "Blob",
    "BlobMissing",
    "BlobStore",
    "Deletions",
    "Record",
    "Records",
    "RecordsUnavailable",
    "RenditionCache",
    "Spool",
    "open_blob_store",
    "sweep_spools",
]
