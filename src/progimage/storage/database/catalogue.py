"""The catalogue: all that the database knows."""

from progimage.storage.database.api_keys import Keys
from progimage.storage.database.audit import AuditLog
from progimage.storage.database.blobs import Inventory
from progimage.storage.database.clock import DatabaseClock
from progimage.storage.database.connections import Database
from progimage.storage.database.images import Records
from progimage.storage.database.outbox import NoOutbox, Outbox
from progimage.storage.database.owners import Owners, Quota


class Catalogue:
    """The parts of the database, over one pool of connections.

    Args:
        url: SQLAlchemy's URL of the database.
        connections: The most connections to PostgreSQL.
        usual: What owners may have whose own quota says nothing.
        outbox: Is told what is added and hidden.
        purge_share: Which share of all images sweeps may purge in an hour.
        jump_seconds: How far the clock may go ahead by itself.
        wait_seconds: For how long sweeps wait after a start with a clock that can't be compared.

    Attributes:
        database: The connections.
        records: The images.
        inventory: Their bytes.
        owners: Whose they are.
        keys: The API keys.
        audit: What happened.
        clock: By which images expire and are purged.
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
        """Prepare the connections; the first one is made when it is needed."""
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
