"""The catalogue: all that the database knows."""

from progimage.storage.audit import AuditLog
from progimage.storage.database import Database
from progimage.storage.inventory import Inventory
from progimage.storage.keys import Keys
from progimage.storage.owners import Owners, Quota
from progimage.storage.records import Records


class Catalogue:
    """The parts of the database, over one pool of connections.

    Args:
        url: SQLAlchemy's URL of the database.
        connections: The most connections to PostgreSQL.
        usual: What owners may have whose own quota says nothing.

    Attributes:
        records: The images.
        inventory: Their bytes.
        owners: Whose they are.
        keys: The API keys.
        audit: What happened.
    """

    def __init__(self, url: str, connections: int = 10, usual: Quota = Quota()) -> None:  # noqa: B008  (it is frozen)
        """Prepare the connections; the first one is made when it is needed."""
        self._database = Database(url, connections)
        self.owners = Owners(self._database, usual)
        self.records = Records(self._database, self.owners)
        self.inventory = Inventory(self._database)
        self.keys = Keys(self._database)
        self.audit = AuditLog(self._database)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()
