"""The database: its schema, and what is asked of each table."""
