"""Error for a store of another deployment."""


class WrongStore(Exception):
    """A store, the database or the data folder doesn't belong to this deployment."""
