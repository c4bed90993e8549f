"""Files without their metadata: one module a format, each copies the coded pixels as they are and leaves the rest out.

What stays is what pixels need to be seen rightly: colour, how they are to be turned, and a gain map's parameters. All
else has to be known to be harmless before it is copied, so what is unknown goes. See docs/decisions/0023-metadata.md.
"""
