"""Middleware that handles every request and response."""
