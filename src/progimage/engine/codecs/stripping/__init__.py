"""Removing metadata from files: one module per format, which copies the coded pixels and omits the rest.

Only data that affects the display of pixels is kept: colour, orientation, and a gain map's parameters. Other data is
copied only if it is known to be harmless, so unknown data is removed. See docs/decisions/0023-metadata.md.
"""
