"""Moving images between deployments and other stores: exports to plain files, and imports of them and of others' files.

Both are an operator's: they work on the database and the store themselves, beside a running service or without one.
"""
