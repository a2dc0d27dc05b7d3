"""External solutions: offsets of others, each number as given and the differences A - B."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import insert_rows
from calreg.db.queries.exposures import ensure_pmaps
from calreg.db.queries.rows import CONVERSIONS, columns_of, fill
from calreg.db.schema import ExternalSolutionRow, ExternalValueRow, IngestRow, PmapRow
from calreg.domain import SetQuery
from calreg.science.external import Method, Sense, ValueState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.domain import Pmap
    from calreg.science.external import ExternalValue


@dataclass(frozen=True)
class StoredSolution:
    """An external solution for one key.

    Attributes
    ----------
    offset_ab_mag, offset_ab_err_mag : float, float or None
        m_A - m_B and its standard error [mag]; None where no error is stated.
    offset_a_mag, offset_b_mag : float
        How the offset is shared between the modules.
    state : ValueState
        Measured, or interpolated from other bands.
    pixar_ab_mag : float or None
        -2.5 log10 of PIXAR_SR of A over that of B [mag]: by how much point sources differ from
        surface brightness. It is not in the offset.
    id : int
        Primary key; zero before it is stored.
    """

    source: str
    pmap: Pmap
    band: str
    array_id: str
    offset_ab_mag: float
    offset_ab_err_mag: float | None
    slope_mag_arcmin: float
    slope_err_mag_arcmin: float
    offset_a_mag: float
    offset_b_mag: float
    sense: Sense
    method: Method
    state: ValueState
    datum: str
    pixar_ab_mag: float | None
    file_name: str
    file_sha256: str
    id: int = 0


_WRITTEN = tuple(name for name in StoredSolution.__dataclass_fields__ if name not in {"pmap", "id"})

CONVERSIONS.update({kind.__name__: kind for kind in (Sense, Method, ValueState)})


def load_solutions(
    connection: sa.Connection, query: SetQuery | None = None, *, source: str | None = None
) -> list[StoredSolution]:
    """Return external solutions in the order of source, pmap, band and array id.

    A query chooses by context, band, array id and time of import.
    """
    query = query or SetQuery()
    row = ExternalSolutionRow
    statement = (
        sa.select(*columns_of(StoredSolution, row, pmap=PmapRow.number))
        .join(PmapRow, PmapRow.id == row.pmap_id)
        .order_by(row.source, PmapRow.number, row.band, row.array_id)
    )
    if query.pmap is not None:
        statement = statement.where(PmapRow.number == query.pmap.number)
    if query.band is not None:
        statement = statement.where(row.band == query.band)
    if query.array_id is not None:
        statement = statement.where(row.array_id == query.array_id)
    if source is not None:
        statement = statement.where(row.source == source)
    if query.as_of_utc is not None:
        statement = statement.join(IngestRow, IngestRow.id == row.ingest_id).where(
            IngestRow.started_utc <= query.as_of_utc
        )
    return fill(StoredSolution, connection.execute(statement))


def load_sources(connection: sa.Connection) -> list[str]:
    """Return the names of all external solutions."""
    statement = sa.select(ExternalSolutionRow.source).distinct()
    return list(connection.scalars(statement.order_by(ExternalSolutionRow.source)))


def insert_solutions(
    connection: sa.Connection,
    solutions: Sequence[StoredSolution],
    as_given: Sequence[object],
    ingest_id: int,
) -> None:
    """Insert external solutions with the rows of the file that each comes from."""
    pmap_ids = ensure_pmaps(connection, {solution.pmap for solution in solutions})
    insert_rows(
        connection,
        ExternalSolutionRow.__table__,
        [
            {
                **{name: getattr(solution, name) for name in _WRITTEN},
                "pmap_id": pmap_ids[solution.pmap.number],
                "ingest_id": ingest_id,
                "as_given": json.dumps(given, sort_keys=True),
            }
            for solution, given in zip(solutions, as_given, strict=True)
        ],
    )


# --- numbers by array -----------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredValue:
    """A number as given, with what it means in our sign.

    Attributes
    ----------
    offset_mag, offset_err_mag : float, float or None
        In our sign, relative to the table's own datum [mag]; no error where none is stated.
    """

    source: str
    value: ExternalValue
    sense: Sense
    method: Method
    offset_mag: float
    offset_err_mag: float | None
    file_name: str
    file_sha256: str


ValueKey = tuple[int, str, str]
"""(number of the pmap, band, array)."""


def load_offsets_given(
    connection: sa.Connection, source: str
) -> dict[ValueKey, tuple[float, float | None]]:
    """Return offset and error of every number that a source gave, in our sign."""
    row = ExternalValueRow
    statement = (
        sa.select(PmapRow.number, row.band, row.array, row.offset_mag, row.offset_err_mag)
        .join(PmapRow, PmapRow.id == row.pmap_id)
        .where(row.source == source)
    )
    return {
        (number, band, array): (offset_mag, err_mag)
        for number, band, array, offset_mag, err_mag in connection.execute(statement)
    }


def insert_values(connection: sa.Connection, values: Sequence[StoredValue], ingest_id: int) -> None:
    """Insert numbers by array."""
    pmap_ids = ensure_pmaps(connection, {stored.value.pmap for stored in values})
    insert_rows(
        connection,
        ExternalValueRow.__table__,
        [
            {
                "ingest_id": ingest_id,
                "source": stored.source,
                "pmap_id": pmap_ids[stored.value.pmap.number],
                "band": stored.value.band,
                "array": stored.value.array,
                "value_given": stored.value.value,
                "err_given": stored.value.err,
                "unit_given": "mag" if stored.value.is_mag else "factor",
                "sense": stored.sense,
                "method": stored.method,
                "state": stored.value.state,
                "offset_mag": stored.offset_mag,
                "offset_err_mag": stored.offset_err_mag,
                "photmjsr": stored.value.photmjsr,
                "pixar_sr": stored.value.pixar_sr,
                "line": stored.value.line,
                "text_given": stored.value.text,
                "file_name": stored.file_name,
                "file_sha256": stored.file_sha256,
            }
            for stored in values
        ],
    )
