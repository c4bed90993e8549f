"""Fetching images by their URLs, only from where that is allowed."""

from progimage.fetching.fetcher import Fetcher, FetchFailed, TooManyFetches, UrlRefused

__all__ = ["FetchFailed", "Fetcher", "TooManyFetches", "UrlRefused"]
