"""Storage: blobs, the catalogue (the database), the rendition cache, and scratch files."""

from progimage.storage.blobs.identity import confirm_identity, deployment_id, identify
from progimage.storage.blobs.opening import open_blob_store, open_object_store
from progimage.storage.blobs.originals import CheckResult, Originals
from progimage.storage.blobs.store import BlobDamaged, BlobMissing, BlobStore, Entry, Store, store_problem, write_hashed
from progimage.storage.blobs.verification import Verification
from progimage.storage.blobs.wrong_store import WrongStore
from progimage.storage.cache.disk import DiskCache
from progimage.storage.cache.invalidation import Changes
from progimage.storage.cache.renditions import Renditions
from progimage.storage.database.api_keys import Keys, UnknownKey
from progimage.storage.database.audit import AuditLog, Event, EventFilter
from progimage.storage.database.blobs import Blob, Inventory
from progimage.storage.database.catalogue import Catalogue
from progimage.storage.database.clock import ClockState, DatabaseClock
from progimage.storage.database.connections import Database, DatabaseFull, DatabaseUnavailable, ListTooSlow
from progimage.storage.database.images import (
    AlreadyStored,
    Held,
    ImageFilter,
    Record,
    Records,
    TicketUsed,
    UnknownReference,
)
from progimage.storage.database.outbox import NoOutbox, Outbox
from progimage.storage.database.owners import Owner, Owners, Quota, QuotaExceeded
from progimage.storage.database.totals import Totals
from progimage.storage.disk_space import DiskSpace, StorageFull, is_full
from progimage.storage.room import Room, ScratchFull, Share
from progimage.storage.scratch import LockedFolder, ScratchFolder, in_use, sweep_folders

__all__ = [
    "AlreadyStored",
    "AuditLog",
    "Blob",
    "BlobDamaged",
    "BlobMissing",
    "BlobStore",
    "Catalogue",
    "Changes",
    "CheckResult",
    "ClockState",
    "Database",
    "DatabaseClock",
    "DatabaseFull",
    "DatabaseUnavailable",
    "DiskCache",
    "DiskSpace",
    "Entry",
    "Event",
    "EventFilter",
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
    "ScratchFolder",
    "ScratchFull",
    "Share",
    "StorageFull",
    "Store",
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
