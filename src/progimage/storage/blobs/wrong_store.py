"""The error of a store that is not the one that it should be."""


class WrongStore(Exception):
    """A store, the database or the data folder is not the one of this deployment."""
