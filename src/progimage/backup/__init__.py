"""Backups: a snapshot of the database's rows, and every blob that it names, in a folder or a bucket; and back again."""
