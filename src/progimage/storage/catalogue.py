"""The catalogue: all that the database knows."""

from progimage.storage.audit import AuditLog
from progimage.storage.database import Database
from progimage.storage.inventory import Inventory
from progimage.storage.keys import Keys
from progimage.storage.outbox import NoOutbox, Outbox
from progimage.storage.owners import Owners, Quota
from progimage.storage.records import Records


class Catalogue:
    """The parts of the database, over one pool of connections.

    Args:
        url: SQLAlchemy's URL of the database.
        connections: The most connections to PostgreSQL.
        usual: What owners may have whose own quota says nothing.
        outbox: Is told what is added and hidden.

    Attributes:
        database: The connections.
        records: The images.
        inventory: Their bytes.
        owners: Whose they are.
        keys: The API keys.
        audit: What happened.
    """

    def __init__(
        self,
        url: str,
        connections: int = 10,
        usual: Quota = Quota(),  # noqa: B008  (they are frozen)
        outbox: Outbox = NoOutbox(),  # noqa: B008
    ) -> None:
        """Prepare the connections; the first one is made when it is needed."""
        self.database = Database(url, connections)
        self.owners = Owners(self.database, usual)
        self.records = Records(self.database, self.owners, outbox)
        self.inventory = Inventory(self.database)
        self.keys = Keys(self.database)
        self.audit = AuditLog(self.database)

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
