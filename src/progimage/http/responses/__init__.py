"""Responses: representations of images, streams of results, and problems (RFC 9110, RFC 9457)."""
