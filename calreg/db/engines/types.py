"""Column types that behave alike on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class UtcTimestamp(sa.types.TypeDecorator[datetime]):
    """A moment in UTC with microseconds; naive times are refused.

    PostgreSQL keeps ``timestamptz``. SQLite has no time zone, so UTC is stored, and read as UTC.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"time {value.isoformat()} has no time zone; registry times are UTC"
            raise ValueError(msg)
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Attach UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class ColumnKind(StrEnum):
    """What a column holds, and so which NumPy type carries it."""

    INTEGER = "integer"
    """int64"""
    FLOAT = "float"
    """float64, NaN for NULL"""
    TEXT = "text"
    """object, str"""
    TIME = "time"
    """datetime64[us], UTC"""
    OTHER = "other"
    """None of these: NumPy decides."""


def column_kind(type_: sa.types.TypeEngine[object]) -> ColumnKind:
    """Return the kind of a column of a SQLAlchemy type."""
    if isinstance(type_, sa.Integer):
        return ColumnKind.INTEGER
    if isinstance(type_, sa.Float):
        return ColumnKind.FLOAT
    if isinstance(type_, sa.String):
        return ColumnKind.TEXT
    if isinstance(type_, UtcTimestamp):
        return ColumnKind.TIME
    return ColumnKind.OTHER
