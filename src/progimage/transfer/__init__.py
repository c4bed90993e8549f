"""Move images between deployments and other stores: export to plain files, and import from exports or other files.

Both are for operators: they use the database and the store directly, whether the service is running or not.
"""
