"""ProgImage: image storage and conversion over HTTP."""

from importlib.metadata import version

__version__ = version("progimage")
