"""What all tables share: naming, types, and CHECKs by their meaning."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Literal, TypeVar, overload

import sqlalchemy as sa

from calreg.db.engines.types import StoredText, UtcTimestamp

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}


METADATA = sa.MetaData(naming_convention=NAMING_CONVENTION)


class Base:
    """A table as a class whose attributes are its columns.

    Nothing here needs the mappers of an ORM, which would double the time that a question from the
    shell takes to start.
    """

    __tablename__: ClassVar[str]
    __table_args__: ClassVar[tuple[Any, ...]] = ()
    __table__: ClassVar[sa.Table]
    metadata: ClassVar = METADATA

    def __init_subclass__(cls) -> None:
        """Make the table."""
        columns = []
        for name, column in vars(cls).items():
            if isinstance(column, sa.Column):
                column.name = column.key = name
                columns.append(column)
        items = [item for item in cls.__table_args__ if not isinstance(item, dict)]
        options = [item for item in cls.__table_args__ if isinstance(item, dict)]
        cls.__table__ = sa.Table(
            cls.__tablename__,
            METADATA,
            *columns,
            *items,
            info={"description": (cls.__doc__ or "").splitlines()[0]},
            **(options[0] if options else {}),
        )

    @classmethod
    def __clause_element__(cls) -> sa.Table:
        """Return what stands for the class in a statement."""
        return cls.__table__


_Value = TypeVar("_Value")


class _Kind(Generic[_Value]):
    """Makes columns of one type; they must have a value unless they are nullable."""

    def __init__(self, type_: sa.types.TypeEngine[_Value]) -> None:
        self._type = type_

    @overload
    def __call__(
        self, comment: str | None = None, *, nullable: Literal[True], **options: Any
    ) -> sa.ColumnClause[_Value | None]: ...

    @overload
    def __call__(self, comment: str | None = None, **options: Any) -> sa.ColumnClause[_Value]: ...

    def __call__(
        self,
        comment: str | None = None,
        *,
        nullable: bool = False,
        references: str | None = None,
        **options: Any,
    ) -> sa.ColumnClause[Any]:
        """Make a column; `references` names the column that a foreign key refers to."""
        keys = [] if references is None else [sa.ForeignKey(references)]
        return sa.Column(self._type, *keys, comment=comment, nullable=nullable, **options)


text = _Kind(StoredText())
integer = _Kind(sa.Integer())
big_integer = _Kind(sa.BigInteger())
double = _Kind[float](sa.Double())
moment = _Kind(UtcTimestamp())


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
