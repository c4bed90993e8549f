"""Plugins: what other packages add to the service through entry points.

docs/adding-a-format.md, adding-a-transformation.md, adding-a-blob-store.md and adding-an-endpoint.md describe them.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

KINDS = {
    "codecs": "format",
    "transformations": "transformation",
    "blob_stores": "blob store",
    "routes": "endpoint",
}
"""What the entry points of each group add, by the name of the group without `progimage.`."""
BUILT_IN_STORES = ("file", "memory", "s3", "gs", "az")
"""URL schemes of the built-in stores."""


class PluginError(Exception):
    """A plugin can't be used. The message is one line that names the plugin."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plugin.

    Attributes:
        kind: Group of its entry point, without `progimage.`.
        name: Name of its entry point.
        package: Name and version of its package.
        point: Its entry point.
    """

    kind: str
    name: str
    package: str
    point: "EntryPoint"

    def __str__(self) -> str:
        """Return its name for messages."""
        return f"The {KINDS[self.kind]} plugin {self.name} of {self.package}"

    def load(self) -> Any:
        """Import the plugin and return the object that its entry point names.

        Raises:
            PluginError: The plugin can't be imported.
        """
        try:
            return self.point.load()
        except PluginError:
            raise
        except Exception as error:
            raise self.refused(f"can't be imported: {_line(error)}") from error

    def refused(self, why: str) -> PluginError:
        """Return an error that explains why the plugin can't be used."""
        return PluginError(f"{self} {why}")

    def failed(self, error: Exception, *others: "Plugin") -> PluginError:
        """Return an error for an exception that this plugin, or one of the others, has raised."""
        return PluginError(f"{' or '.join(map(str, (self, *others)))} failed: {_line(error)}")


def installed(kind: str) -> tuple[Plugin, ...]:
    """Return the plugins of a group, sorted by name."""
    return _installed().get(kind, ())


def listed() -> list[str]:
    """Return descriptions of all plugins, for the start banner and the doctor."""
    return [
        f"{plugin.name} ({KINDS[kind]}, {plugin.package})"
        for kind, plugins in _installed().items()
        for plugin in plugins
    ]


def store_plugins() -> dict[str, Plugin]:
    """Return the blob store plugins by URL scheme.

    Raises:
        PluginError: A scheme is taken.
    """
    stores: dict[str, Plugin] = {}
    for plugin in installed("blob_stores"):
        if plugin.name in BUILT_IN_STORES or plugin.name in stores:
            raise plugin.refused(f"has a URL scheme that is taken: '{plugin.name}'.")
        stores[plugin.name] = plugin
    return stores


@cache
def _installed() -> dict[str, tuple[Plugin, ...]]:
    from importlib.metadata import entry_points  # imported late to keep `--help` fast

    points = entry_points()  # once for all groups: it reads a file of every installed package
    return {
        kind: tuple(sorted((_plugin(kind, point) for point in found), key=lambda plugin: (plugin.name, plugin.package)))
        for kind in KINDS
        if (found := points.select(group=f"progimage.{kind}"))
    }


def _plugin(kind: str, point: "EntryPoint") -> Plugin:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    return Plugin(kind, point.name, package, point)


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
