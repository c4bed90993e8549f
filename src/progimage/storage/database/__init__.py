"""Database: schema and access to each table."""
