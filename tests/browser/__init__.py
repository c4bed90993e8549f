"""The page, and IIIF's viewers, in a real Chromium; left out where there is none."""
