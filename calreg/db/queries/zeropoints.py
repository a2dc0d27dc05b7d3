"""Zero points: PHOTMJSR of every context as headers, files and publications give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import insert_rows
from calreg.db.schema import IngestRow, PmapRow, ZeroPointRow
from calreg.domain import ExposureKind, Pmap, ZeroPointKind
from calreg.science.contexts import single_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from calreg.domain import Exposure

HEADER_SOURCE = "{kind} header"
"""Source of a value that an exposure brought."""

_KEY = ("array", "filter", "pupil", "subarray", "photmjsr", "source")
"""What makes a value the same one, with the context: the columns of the unique constraint."""


@dataclass(frozen=True)
class StoredZeroPoint:
    """A PHOTMJSR of one array under one context.

    Attributes
    ----------
    pmap : Pmap
    array, filter, pupil, subarray : str
        `subarray` is empty where the value holds for every one.
    photmjsr, photmjsr_half_width : float
        Value and half a unit of its last digit [MJy/sr per DN/s].
    pixar_sr, pixar_half_width_sr : float or None
        [sr].
    r_photom : str
        Photom reference file; empty where not stated.
    source : str
    kind : ZeroPointKind
    file_name : str
        File that the value was read from; empty for headers of images.
    """

    pmap: Pmap
    array: str
    filter: str
    pupil: str
    subarray: str
    photmjsr: float
    photmjsr_half_width: float
    pixar_sr: float | None
    pixar_half_width_sr: float | None
    r_photom: str
    source: str
    kind: ZeroPointKind
    file_name: str


_PLAIN = tuple(name for name in StoredZeroPoint.__dataclass_fields__ if name != "pmap")


def load_zero_points(
    connection: sa.Connection,
    band: str | None = None,
    arrays: Sequence[str] | None = None,
    as_of_utc: datetime | None = None,
) -> list[StoredZeroPoint]:
    """Return zero points in the order of pmap, array and subarray.

    Parameters
    ----------
    connection : sqlalchemy.Connection
    band : str, optional
        Only this band.
    arrays : sequence of str, optional
        Only these detectors.
    as_of_utc : datetime, optional
        Only what was ingested by this time (aware).

    Returns
    -------
    list of StoredZeroPoint
    """
    statement = (
        sa.select(PmapRow.number, *(getattr(ZeroPointRow, name) for name in _PLAIN))
        .join(PmapRow, PmapRow.id == ZeroPointRow.pmap_id)
        .order_by(PmapRow.number, ZeroPointRow.array, ZeroPointRow.subarray, ZeroPointRow.id)
    )
    if band is not None:
        statement = statement.where(ZeroPointRow.band == band)
    if arrays is not None:
        statement = statement.where(ZeroPointRow.array.in_(list(arrays)))
    if as_of_utc is not None:
        statement = statement.join(IngestRow, IngestRow.id == ZeroPointRow.ingest_id).where(
            IngestRow.started_utc <= as_of_utc
        )
    found = []
    for number, *values in connection.execute(statement):
        named = dict(zip(_PLAIN, values, strict=True))
        named["kind"] = ZeroPointKind(named["kind"])
        found.append(StoredZeroPoint(pmap=Pmap(number), **named))
    return found


def insert_new_zero_points(
    connection: sa.Connection,
    rows: Sequence[dict[str, object]],
    pmap_ids: Collection[int],
    ingest_id: Callable[[], int],
) -> int:
    """Insert the zero points whose value was not seen before for their key and source.

    Parameters
    ----------
    connection : sqlalchemy.Connection
    rows : sequence of dict
        Columns of the table, without `ingest_id`.
    pmap_ids : collection of int
        The contexts of `rows`.
    ingest_id : callable
        Returns the id of the call that brought them; called only if a row is new.

    Returns
    -------
    int
        How many were new.
    """
    statement = sa.select(
        ZeroPointRow.pmap_id, *(getattr(ZeroPointRow, name) for name in _KEY)
    ).where(ZeroPointRow.pmap_id.in_(sorted(pmap_ids)))
    seen = {tuple(row) for row in connection.execute(statement)}
    new = []
    for row in rows:
        key = (row["pmap_id"], *(row[name] for name in _KEY))
        if key not in seen:
            seen.add(key)
            new.append(row)
    if new:
        id_ = ingest_id()
        insert_rows(connection, ZeroPointRow.__table__, [{**row, "ingest_id": id_} for row in new])
    return len(new)


def add_header_zero_points(
    connection: sa.Connection,
    exposures: Sequence[Exposure],
    pmap_ids: dict[int, int],
    ingest_id: int,
) -> None:
    """Insert the PHOTMJSR values of headers that were not seen before for their key and source.

    Parameters
    ----------
    connection : sqlalchemy.Connection
    exposures : sequence of Exposure
    pmap_ids : dict of int to int
        Id by the context's number.
    ingest_id : int
    """
    rows: list[dict[str, object]] = []
    for exposure in exposures:
        if exposure.photmjsr is None:
            continue
        is_mosaic = exposure.kind == ExposureKind.I2D
        pixar_sr = None if is_mosaic else exposure.pixar_sr
        rows.append(
            {
                "pmap_id": pmap_ids[exposure.pmap.number],
                "array": exposure.array,
                "filter": exposure.filter,
                "pupil": exposure.pupil,
                "band": exposure.band,
                "subarray": exposure.subarray,
                "photmjsr": exposure.photmjsr,
                "photmjsr_half_width": single_precision(exposure.photmjsr).half_width,
                "pixar_sr": pixar_sr,
                "pixar_half_width_sr": (
                    None if pixar_sr is None else single_precision(pixar_sr).half_width
                ),
                "r_photom": exposure.r_photom,
                "source": HEADER_SOURCE.format(kind=exposure.kind),
                "kind": str(ZeroPointKind.HEADER),
                "file_name": "",
            }
        )
    insert_new_zero_points(connection, rows, set(pmap_ids.values()), lambda: ingest_id)
