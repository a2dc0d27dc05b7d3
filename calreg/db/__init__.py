"""The database: engines, schema, and queries that return plain rows.

Only this room and the migrations import sqlalchemy; nothing here reads a file of data.
"""
