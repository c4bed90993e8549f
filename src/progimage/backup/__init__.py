"""Backup and restore of a snapshot of the database and all its blobs, in a folder or a bucket."""
