"""Catalogue: everything in the database."""

from progimage.storage.database.api_keys import Keys
from progimage.storage.database.audit import AuditLog
from progimage.storage.database.blobs import Inventory
from progimage.storage.database.clock import DatabaseClock
from progimage.storage.database.connections import Database
from progimage.storage.database.images import Records
from progimage.storage.database.outbox import NoOutbox, Outbox
from progimage.storage.database.owners import Owners, Quota


class Catalogue:
    """Parts of the database, which share one connection pool.

    Args:
        url: SQLAlchemy URL of the database.
        connections: Maximum number of connections to PostgreSQL.
        usual: Default quota of owners.
        outbox: Receives added and hidden images.
        purge_share: Maximum share of all images that sweeps purge per hour.
        jump_seconds: How far the clock may jump ahead.
        wait_seconds: How long sweeps are paused after a start with a clock that can't be compared.

    Attributes:
        database: Database connections.
        records: Records of images.
        inventory: Blobs.
        owners: Owners.
        keys: API keys.
        audit: Audit log.
        clock: Clock for expiry and purging.
    """

    def __init__(
        self,
        url: str,
        connections: int = 10,
        usual: Quota = Quota(),  # noqa: B008  (they are frozen)
        outbox: Outbox = NoOutbox(),  # noqa: B008
        *,
        purge_share: float = 0.05,
        jump_seconds: float = 600,
        wait_seconds: float = 86400,
    ) -> None:
        self.database = Database(url, connections)
        self.owners = Owners(self.database, usual)
        self.records = Records(self.database, self.owners, outbox, purge_share)
        self.clock = DatabaseClock(self.database, jump_seconds, wait_seconds)
        self.inventory = Inventory(self.database)
        self.keys = Keys(self.database)
        self.audit = AuditLog(self.database)

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
