"""Plugins: the examples of the documentation's pages, and others, installed as pip does it, outside of the package."""

import re
from pathlib import Path

_DOCS = Path(__file__).parents[1] / "docs"


def install(folder: Path, group: str, entry: str, code: str, package: str = "", version: str = "1.0") -> None:
    """Install a package of one module into a folder.

    Args:
        folder: The folder, for PYTHONPATH.
        group: The group of its entry point.
        entry: Its entry point, as "name = module:object".
        code: The code of the module.
        package: Its name; empty: that of the module.
        version: Its version.
    """
    module = re.split(r"[ =:]+", entry)[1]
    package = package or module.replace("_", "-")
    (folder / f"{module}.py").write_text(code)
    for old in folder.glob(f"{module}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    installed = folder / f"{module}-{version}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (installed / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")


def install_example(page: str, folder: Path, version: str = "1.0") -> None:
    """Install the example of a page of the documentation: its first block of Python, and its entry point."""
    python, toml = (
        re.findall(rf"```{language}\n(.*?)```", (_DOCS / page).read_text(), re.DOTALL)
        for language in ("python", "toml")
    )
    entry_point = re.search(r'\[project\.entry-points\."(.+?)"\]\n(.+)', toml[0])
    assert entry_point
    install(folder, entry_point[1], entry_point[2].replace('"', ""), python[0], version=version)
