"""Rows of answers as astropy Tables, with units."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astropy.table import Table

_UNIT_BY_ENDING = (
    ("_mag_arcmin", "mag / arcmin"),
    ("_mag", "mag"),
    ("_mas", "mas"),
    ("_arcmin", "arcmin"),
    ("_deg", "deg"),
)


def to_table(rows: Sequence[Any]) -> Table:
    """Turn rows of one kind into an astropy Table.

    Parameters
    ----------
    rows : sequence of dataclass
        What a question of `calreg.Registry` returned.

    Returns
    -------
    astropy.table.Table
        One column per field, with the unit that its name states; None is masked.
    """
    import numpy as np
    from astropy.table import MaskedColumn, Table

    if not rows:
        return Table()
    columns = []
    for entry in fields(rows[0]):
        values = [getattr(row, entry.name) for row in rows]
        is_missing = [value is None for value in values]
        filler: object = next((value for value in values if value is not None), "")
        filled = [filler if value is None else value for value in values]
        if isinstance(filler, dict | tuple | list) or hasattr(filler, "isoformat"):
            filled = [str(value) for value in filled]
        unit = next((u for ending, u in _UNIT_BY_ENDING if entry.name.endswith(ending)), None)
        is_number = isinstance(filler, int | float)
        columns.append(
            MaskedColumn(
                np.array(filled), name=entry.name, mask=is_missing, unit=unit if is_number else None
            )
        )
    return Table(columns)
