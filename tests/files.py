"""A file in a folder of its own, described and rendered by the engine without a server."""

from pathlib import Path

from progimage.engine import ImageInfo, Limits, RenditionSpec, inspect, render


class File:
    """A file, and what becomes of it."""

    def __init__(self, folder: Path, data: bytes | bytearray) -> None:
        self.path, self._target = folder / "source", folder / "target"
        self.path.write_bytes(data)

    @property
    def info(self) -> ImageInfo:
        return inspect(self.path, Limits())

    def bytes(self, spec: str = "PNG") -> bytes:
        render(self.path, RenditionSpec.from_canonical(spec), self._target, Limits())
        return self._target.read_bytes()
