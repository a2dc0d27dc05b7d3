"""What SQLite and PostgreSQL do differently, each behind the same verbs.

No other room names an engine.
"""
