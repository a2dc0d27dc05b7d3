"""Rows as dataclasses: the columns to select, and what is filled in, go by the names of fields."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from calreg.db.engines.types import stored_json
from calreg.domain import Pmap, ReferenceKind, ZeroPointKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import sqlalchemy as sa
    from _typeshed import DataclassInstance

    from calreg.db.schema import Base

_Record = TypeVar("_Record", bound="DataclassInstance")


@cache
def pmap_of(number: int) -> Pmap:
    """Return the context of a number."""
    return Pmap(number)


CONVERSIONS: dict[str, Callable[[Any], object]] = {
    "Pmap": pmap_of,
    "ReferenceKind": ReferenceKind,
    "ZeroPointKind": ZeroPointKind,
    "dict[str, str]": stored_json,
    "tuple[str, ...]": lambda text: tuple(stored_json(text)),
}
"""How a value of the database becomes that of a field, by the field's annotation. NULL is None."""


def columns_of(
    record: type[Any], *tables: type[Base], **others: sa.ColumnElement[Any]
) -> list[sa.ColumnElement[Any]]:
    """Return the columns that fill a dataclass, labelled like its fields and in their order.

    Each is the one given by name, else that of the first table that has it; a field of neither
    is left out.
    """
    columns: list[sa.ColumnElement[Any]] = []
    for name in _names(record):
        if name in others:
            columns.append(others[name].label(name))
        else:
            found = [table.__table__.c[name] for table in tables if name in table.__table__.c]
            columns += found[:1]
    return columns


def fill(record: type[_Record], rows: sa.Result[*tuple[Any, ...]]) -> list[_Record]:
    """Return a dataclass for every row of a SELECT of its `columns_of`."""
    names = tuple(rows.keys())
    if names != _names(record)[: len(names)]:
        msg = f"columns {names} do not begin the fields of {record.__name__}"
        raise TypeError(msg)
    return list(map(filler(record, len(names)), rows))


def filler(record: type[_Record], n_columns: int) -> Callable[..., _Record]:
    """Return a function that makes a dataclass of a row and of the values of its last fields."""
    conversions = [
        CONVERSIONS.get(str(field.type).removesuffix(" | None")) for field in fields(record)
    ]
    wanted = [(i, convert) for i, convert in enumerate(conversions[:n_columns]) if convert]
    if not wanted:
        return lambda row, *others: record(*row, *others)

    def filled(row: Iterable[Any], *others: Any) -> _Record:
        values = list(row)
        for i, convert in wanted:
            if values[i] is not None:
                values[i] = convert(values[i])
        return record(*values, *others)

    return filled


def _names(record: type[Any]) -> tuple[str, ...]:
    """Return the names of a dataclass's fields."""
    return tuple(field.name for field in fields(record))
