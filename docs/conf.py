"""How Sphinx makes the documentation site of these pages; `make docs` runs it."""

import re
from typing import Any

from progimage import __version__

project = "ProgImage"
author = "The ProgImage authors"
copyright = "The ProgImage authors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "sphinx_copybutton"]
default_role = "code"
smartquotes = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "ProgImage"
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True


def _titled(_: Any, __: str, source: list[str]) -> None:
    # Links that are called as the file is, for readers of the files, are called as the page is here.
    source[0] = re.sub(r"\[([\w/-]+\.md)\]\(\1", r"[](\1", source[0])


def setup(app: Any) -> None:
    """Tell Sphinx of what is ours."""
    app.connect("source-read", _titled)
