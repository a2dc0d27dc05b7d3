"""What all tables share: naming, types, and CHECKs by their meaning."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from calreg.db.engines.types import UtcTimestamp

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}


class Base(DeclarativeBase):
    """Declarative base; every float is double precision, every string unbounded text."""

    metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar = {float: sa.Double(), str: sa.Text(), datetime: UtcTimestamp()}


def one_of(column: str, *values: str) -> sa.CheckConstraint:
    """CHECK that a text column holds one of a few words."""
    words = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({words})", name=column)


def between(column: str, low: float, high: float) -> sa.CheckConstraint:
    """CHECK that a number lies within closed bounds."""
    return sa.CheckConstraint(f"{column} BETWEEN {low} AND {high}", name=column)


def positive(column: str) -> sa.CheckConstraint:
    """CHECK that a number is positive (NULL passes)."""
    return sa.CheckConstraint(f"{column} > 0", name=column)


def not_negative(column: str) -> sa.CheckConstraint:
    """CHECK that a number is zero or more (NULL passes)."""
    return sa.CheckConstraint(f"{column} >= 0", name=column)


def sha256(column: str) -> sa.CheckConstraint:
    """CHECK that a digest has 64 characters."""
    return sa.CheckConstraint(f"length({column}) = 64", name=column)


def not_empty(column: str) -> sa.CheckConstraint:
    """CHECK that a text column is not empty."""
    return sa.CheckConstraint(f"{column} <> ''", name=column)


IMAGE_KINDS = ("cal", "crf", "i2d")
FLUX_KINDS = ("iso", "auto", "aper", "psf")
CATALOG_ORIGINS = ("file", "pixels")
ZERO_POINT_KINDS = ("header", "table", "timed", "published")
REFERENCE_KINDS = ("photom", "flat", "area")
