"""Fetching images from URLs, only from allowed hosts."""

from progimage.fetching.fetcher import Fetcher, FetchFailed, TooManyFetches, UrlRefused

__all__ = ["FetchFailed", "Fetcher", "TooManyFetches", "UrlRefused"]
