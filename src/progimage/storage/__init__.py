"""Where things are kept: blobs, the catalogue (all that is in the database), renditions (a cache), the spool."""

from progimage.storage.audit import AuditLog, Event, EventFilter
from progimage.storage.blobs import (
    BlobDamaged,
    BlobMissing,
    BlobStore,
    open_blob_store,
    open_object_store,
    store_problem,
    write_hashed,
)
from progimage.storage.catalogue import Catalogue
from progimage.storage.changes import Changes
from progimage.storage.clock import ClockState, DatabaseClock
from progimage.storage.database import Database, DatabaseFull, DatabaseUnavailable, ListTooSlow
from progimage.storage.disk_cache import DiskCache
from progimage.storage.disk_space import DiskSpace, StorageFull, is_full
from progimage.storage.identity import confirm_identity, deployment_id, identify
from progimage.storage.inventory import Blob, Inventory
from progimage.storage.keys import Keys, UnknownKey
from progimage.storage.originals import Finding, Originals
from progimage.storage.outbox import NoOutbox, Outbox
from progimage.storage.owners import Owner, Owners, Quota, QuotaExceeded
from progimage.storage.records import AlreadyStored, Held, ImageFilter, Record, Records, TicketUsed, UnknownReference
from progimage.storage.renditions import Renditions
from progimage.storage.room import Room, Share, SpoolFull
from progimage.storage.spool import LockedFolder, Spool, in_use, sweep_folders
from progimage.storage.totals import Totals
from progimage.storage.verification import Verification
from progimage.storage.wrong_store import WrongStore

__all__ = [
    "AlreadyStored",
    "AuditLog",
    "Blob",
    "BlobDamaged",
    "BlobMissing",
    "BlobStore",
    "Catalogue",
    "Changes",
    "ClockState",
    "Database",
    "DatabaseClock",
    "DatabaseFull",
    "DatabaseUnavailable",
    "DiskCache",
    "DiskSpace",
    "Event",
    "EventFilter",
    "Finding",
    "Held",
    "ImageFilter",
    "Inventory",
    "Keys",
    "ListTooSlow",
    "LockedFolder",
    "NoOutbox",
    "Originals",
    "Outbox",
    "Owner",
    "Owners",
    "Quota",
    "QuotaExceeded",
    "Record",
    "Records",
    "Renditions",
    "Room",
    "Share",
    "Spool",
    "SpoolFull",
    "StorageFull",
    "TicketUsed",
    "Totals",
    "UnknownKey",
    "UnknownReference",
    "Verification",
    "WrongStore",
    "confirm_identity",
    "deployment_id",
    "identify",
    "in_use",
    "is_full",
    "open_blob_store",
    "open_object_store",
    "store_problem",
    "sweep_folders",
    "write_hashed",
]
