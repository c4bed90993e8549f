"""Stores of originals and their rungs, with verified reads."""
