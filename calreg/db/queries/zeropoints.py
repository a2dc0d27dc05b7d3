"""Zero points: PHOTMJSR of every context as headers, files and publications give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from calreg.db.bulk import fetch_columns, insert_rows, integer_list
from calreg.db.queries.rows import columns_of, fill
from calreg.db.schema import (
    CatalogRow,
    DetectionRow,
    EpochRow,
    ExposureRow,
    IngestRow,
    PairGroupRow,
    PmapRow,
    SetInputRow,
    ZeroPointRow,
)
from calreg.domain import ExposureKind, Pmap, ZeroPointKind
from calreg.science.zeropoints import single_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from calreg.domain import Exposure

HEADER_SOURCE = "{kind} header"
"""Source of a value that an exposure brought."""

_KEY = ("array", "filter", "pupil", "subarray", "photmjsr", "source")
"""What makes a value the same one, with the context: the columns of the unique constraint."""


_ONE_VALUE = 1e-6
"""Relative: headers hold what was single precision; contexts differ by 1e-4 and more."""


@dataclass(frozen=True)
class StoredZeroPoint:
    """A PHOTMJSR of one array under one context.

    Attributes
    ----------
    array, filter, pupil, subarray : str
        `subarray` is empty where the value holds for every one.
    photmjsr, photmjsr_half_width : float
        Value and half a unit of its last digit [MJy/sr per DN/s].
    r_photom : str
        Photom reference file; empty where not stated.
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


def load_zero_points(
    connection: sa.Connection,
    band: str | None = None,
    arrays: Sequence[str] | None = None,
    as_of_utc: datetime | None = None,
) -> list[StoredZeroPoint]:
    """Return zero points in the order of pmap, array and subarray.

    Parameters
    ----------
    as_of_utc : datetime, optional
        Only what was ingested by this time (aware).
    """
    statement = (
        sa.select(*columns_of(StoredZeroPoint, ZeroPointRow, pmap=PmapRow.number))
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
    return fill(StoredZeroPoint, connection.execute(statement))


def insert_new_zero_points(
    connection: sa.Connection,
    rows: Sequence[dict[str, object]],
    pmap_ids: Collection[int],
    ingest_id: Callable[[], int],
) -> int:
    """Insert the zero points whose value was not seen before for their key and source.

    Parameters
    ----------
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
    pmap_ids : dict of int to int
        Id by the context's number.
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


class TimedFile(NamedTuple):
    """A photom file whose values for an array and band depend on time."""

    r_photom: str
    array: str
    filter: str
    pupil: str


def load_timed_files(connection: sa.Connection) -> set[TimedFile]:
    """Return the photom files with TIMECOEFF that the registry has."""
    columns = [getattr(ZeroPointRow, name) for name in TimedFile._fields]
    statement = sa.select(*columns).where(ZeroPointRow.kind == str(ZeroPointKind.TIMED)).distinct()
    return {TimedFile(*row) for row in connection.execute(statement)}


def calibration_conflict(images: Iterable[Any], timed: Collection[TimedFile]) -> str:
    """Name the images of one context, array and band whose PHOTMJSR differ; empty if none do.

    One photom file that depends on time gives every exposure a value of its own.
    """
    alike: dict[tuple[str, str, str, str], list[Any]] = {}
    for image in images:
        key = (image.array, image.filter, image.pupil, image.subarray)
        if image.photmjsr is not None:
            alike.setdefault(key, []).append(image)
    for (array, filter_, pupil, _), found in sorted(alike.items()):
        first, *_, last = ordered = sorted(
            [found[0], *found], key=lambda image: (image.photmjsr or 0.0, image.file_name)
        )
        files = {image.r_photom for image in found}
        is_timed = len(files) == 1 and TimedFile(found[0].r_photom, array, filter_, pupil) in timed
        is_one = (last.photmjsr or 0.0) <= (first.photmjsr or 0.0) * (1.0 + _ONE_VALUE)
        if is_one or is_timed:
            continue
        by_value = {image.photmjsr: image for image in ordered}
        told = " and ".join(
            f"{value:.9g} ({image.file_name}{', ' * bool(image.r_photom)}{image.r_photom})"
            for value, image in by_value.items()
        )
        return (
            f"{array} {filter_}: PHOTMJSR is {told} under one context, expected one value: "
            "calibrate all alike (was it another CRDS server, or an override?), in a new registry"
        )
    return ""


@dataclass(frozen=True)
class CalibrationConflict:
    """Images of one field, context, kind and array with several PHOTMJSR."""

    file_names: frozenset[str]
    message: str


def find_calibration_conflicts(connection: sa.Connection) -> list[CalibrationConflict]:
    """Return where images that would enter one fit have several PHOTMJSR."""
    row = ExposureRow
    names = ("pmap_id", "kind", "array", "filter", "pupil", "subarray")
    key: list[Any] = [EpochRow.field_id, *(getattr(row, name) for name in names)]
    value = row.photmjsr
    by_key = (
        sa.select(*key)
        .join(EpochRow, EpochRow.id == row.epoch_id)
        .group_by(*key)
        .having(sa.func.max(value) > sa.func.min(value) * (1.0 + _ONE_VALUE))
        .subquery()
    )
    statement = (
        sa.select(*key, PmapRow.number, row.photmjsr, row.r_photom, row.file_name)
        .join(EpochRow, EpochRow.id == row.epoch_id)
        .join(PmapRow, PmapRow.id == row.pmap_id)
        .join(by_key, sa.and_(*(by_key.c[one.key] == one for one in key)))
        .order_by(*key, row.file_name)
    )
    alike: dict[tuple[object, ...], list[Any]] = {}
    for found in connection.execute(statement):
        alike.setdefault(tuple(found[: len(key)]), []).append(found)
    timed = load_timed_files(connection) if alike else set()
    return [
        CalibrationConflict(
            frozenset(image.file_name for image in images), f"{Pmap(images[0].number)}: {message}"
        )
        for images in alike.values()
        if (message := calibration_conflict(images, timed))
    ]


@dataclass(frozen=True)
class SetImage:
    """An image that a set was measured on, with its catalog.

    `ra_ref_deg`, `dec_ref_deg` and `roll_ref_deg` are those of the first member for a mosaic.
    """

    catalog_id: int
    epoch_id: int
    array: str
    kind: str
    roll_deg: float
    ra_ref_deg: float | None
    dec_ref_deg: float | None
    roll_ref_deg: float | None
    s_region: str
    expstart_mjd_utc: float
    expend_mjd_utc: float


def load_set_images(connection: sa.Connection, set_pk: int) -> list[SetImage]:
    """Return the images of all pair groups that a set was fitted from, in the order of time."""
    groups = sa.select(SetInputRow.group_id).where(SetInputRow.set_pk == set_pk)
    catalogs = sa.union(
        *(
            sa.select(column).where(PairGroupRow.id.in_(groups))
            for column in (PairGroupRow.catalog_i_id, PairGroupRow.catalog_j_id)
        )
    )
    statement = (
        sa.select(*columns_of(SetImage, ExposureRow, catalog_id=CatalogRow.id))
        .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
        .where(CatalogRow.id.in_(catalogs))
        .order_by(ExposureRow.expstart_mjd_utc, CatalogRow.id)
    )
    return fill(SetImage, connection.execute(statement))


def fetch_detector_positions(
    connection: sa.Connection, catalog_ids: Iterable[int], *, mag_limit: float
) -> dict[str, NDArray[Any]]:
    """Read where on the detectors the brighter sources of some catalogs were seen.

    Returns
    -------
    dict of str to ndarray, shape (n_detections,)
        Columns catalog_id, ra_deg, dec_deg, x_det and y_det of those that are known.
    """
    statement = (
        sa.select(
            DetectionRow.catalog_id,
            DetectionRow.ra_deg,
            DetectionRow.dec_deg,
            DetectionRow.x_det,
            DetectionRow.y_det,
        )
        .where(
            DetectionRow.catalog_id.in_(integer_list(connection, sorted(catalog_ids))),
            DetectionRow.mag_ab < mag_limit,
            DetectionRow.x_det.is_not(None),
            DetectionRow.y_det.is_not(None),
        )
        .order_by(DetectionRow.catalog_id, DetectionRow.number)
    )
    return fetch_columns(connection, statement)


@dataclass(frozen=True)
class UsedReferences:
    """The photom and flat files that exposures of one array and band name; empty if they do not."""

    array: str
    band: str
    r_photom: str
    r_flat: str


def load_used_references(connection: sa.Connection, pmap: Pmap) -> list[UsedReferences]:
    """Return the distinct reference files of all exposures under a context."""
    columns = columns_of(UsedReferences, ExposureRow)
    statement = (
        sa.select(*columns)
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(PmapRow.number == pmap.number)
        .distinct()
        .order_by(*columns)
    )
    return fill(UsedReferences, connection.execute(statement))


def first_exposure_mjd(connection: sa.Connection, pmap: Pmap) -> float | None:
    """Return when the first exposure under a context began [MJD UTC], None if there is none."""
    statement = (
        sa.select(sa.func.min(ExposureRow.expstart_mjd_utc))
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(PmapRow.number == pmap.number)
    )
    return connection.scalar(statement)


@dataclass(frozen=True)
class SeenZeroPoint:
    """A PHOTMJSR in the headers of exposures or mosaics; `pixar_sr` is None from mosaics."""

    filter: str
    pupil: str
    band: str
    subarray: str
    photmjsr: float
    pixar_sr: float | None
    source: str


def load_seen_zero_points(connection: sa.Connection, pmap: Pmap, array: str) -> list[SeenZeroPoint]:
    """Return the PHOTMJSR in the headers of an array's images under a context, of all bands."""
    columns = columns_of(SeenZeroPoint, ZeroPointRow)
    statement = (
        sa.select(*columns)
        .join(PmapRow, PmapRow.id == ZeroPointRow.pmap_id)
        .where(
            PmapRow.number == pmap.number,
            ZeroPointRow.array == array,
            ZeroPointRow.kind == str(ZeroPointKind.HEADER),
        )
        .order_by(*columns[:5])
    )
    return fill(SeenZeroPoint, connection.execute(statement))
