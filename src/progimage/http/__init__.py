"""Speaks HTTP, and never touches pixels."""
