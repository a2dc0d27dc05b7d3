"""Put new exposures into fields and epochs: found from the sky and the clock, or given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.db.queries.exposures import (
    PlacedExposure,
    StoredEpoch,
    add_epoch,
    add_field,
    find_epoch,
    find_field,
    load_epoch_fields,
    load_epochs,
    load_epochs_by_id,
    load_placed,
    merge_fields,
)
from calreg.errors import InvalidValueError
from calreg.science.sky.epochs import (
    NONE,
    EpochPlan,
    ExposureSet,
    KnownEpochs,
    Overrides,
    find_epochs,
)
from calreg.science.sky.geometry import s_region_polygons, sky_position, unit_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from calreg.db.engine import Connection
    from calreg.domain import Exposure
    from calreg.ingest.options import IngestOptions


@dataclass(frozen=True)
class Placement:
    """Where an exposure belongs.

    Attributes
    ----------
    epoch_id : int
        The epoch; meaningless when refused.
    joined : tuple of StoredEpoch
        The two epochs that the exposure would join, and is refused for; else empty.
    """

    epoch_id: int
    joined: tuple[StoredEpoch, ...] = ()


def place_exposures(
    connection: Connection,
    exposures: Sequence[Exposure],
    options: IngestOptions,
    now_utc: datetime,
) -> list[Placement]:
    """Find or make the field and epoch of every new exposure, in the order given.

    Raises
    ------
    InvalidValueError
        If the options give an epoch without field, and the exposures are of several fields.
    """
    field_name, epoch_label = options.field_name, options.epoch_label
    overrides = Overrides.none(len(exposures))
    if field_name is not None:
        field_id = find_field(connection, field_name)
        if field_id is None:
            field_id = add_field(connection, field_name, now_utc)
        overrides.field_id[:] = field_id
        if epoch_label is not None:
            overrides.epoch_id[:] = _ensure_epoch(connection, field_id, epoch_label)
    plan = _plan(connection, exposures, overrides)
    if epoch_label is not None and field_name is None:
        overrides.epoch_id[:] = _labelled_epoch(connection, exposures, plan, epoch_label, now_utc)
        plan = _plan(connection, exposures, overrides)
    return _carry_out(connection, exposures, plan, now_utc)


def _plan(connection: Connection, exposures: Sequence[Exposure], overrides: Overrides) -> EpochPlan:
    """Run the finder against what is in the registry."""
    placed = load_placed(connection)
    regions = {item.s_region for item in placed} | {one.s_region for one in exposures}
    footprints = {region: s_region_polygons(region) for region in regions}
    known = KnownEpochs(
        ExposureSet(
            footprints=[footprints[item.s_region] for item in placed],
            roll_deg=np.array([item.roll_deg for item in placed], dtype=np.float64),
            expstart_mjd_utc=np.array([item.expstart_mjd_utc for item in placed], dtype=np.float64),
            expend_mjd_utc=np.array([item.expend_mjd_utc for item in placed], dtype=np.float64),
            visit_keys=[_visit_key(item) for item in placed],
        ),
        np.array([item.epoch_id for item in placed], dtype=np.int64),
        load_epoch_fields(connection),
    )
    new = ExposureSet(
        footprints=[footprints[exposure.s_region] for exposure in exposures],
        roll_deg=np.array([exposure.roll_deg for exposure in exposures]),
        expstart_mjd_utc=np.array([exposure.expstart_mjd_utc for exposure in exposures]),
        expend_mjd_utc=np.array([exposure.expend_mjd_utc for exposure in exposures]),
        visit_keys=[_visit_key(exposure) for exposure in exposures],
    )
    identities = [
        f"{exposure.array} {exposure.pmap} {exposure.file_name} {exposure.header_sha256}"
        for exposure in exposures
    ]
    return find_epochs(new, identities, known, overrides)


def _visit_key(exposure: Exposure | PlacedExposure) -> str:
    """Return what exposures of one visit share (mosaics: of one observation); empty if unknown."""
    if not exposure.program or not exposure.observation:
        return ""
    return f"{exposure.program} {exposure.observation} {exposure.visit}"


def _ensure_epoch(connection: Connection, field_id: int, label: str) -> int:
    """Return the epoch with a name or label in a field, made if it is not there."""
    for epoch in load_epochs(connection):
        if epoch.field_id == field_id and epoch.name == label:
            return epoch.id
    known = find_epoch(connection, field_id, label)
    return add_epoch(connection, field_id, label) if known is None else known


def _labelled_epoch(
    connection: Connection,
    exposures: Sequence[Exposure],
    plan: EpochPlan,
    label: str,
    now_utc: datetime,
) -> int:
    """Return the epoch with a label in the one field that all exposures are of."""
    epoch_fields = load_epoch_fields(connection)
    found: set[int] = {epoch_fields[epoch_id] for epoch_id in plan.epoch_id if epoch_id != NONE}
    found |= {epoch.field_id for epoch in plan.new_epochs if epoch.field_id != NONE}
    for conflict in plan.conflicts:
        found |= {epoch_fields[conflict.epoch_id_1], epoch_fields[conflict.epoch_id_2]}
    if len(found) + plan.n_new_fields != 1:
        msg = (
            f"--epoch {label}: the exposures of this call belong to "
            f"{len(found) + plan.n_new_fields} fields; name one with --field"
        )
        raise InvalidValueError(msg)
    field_id = found.pop() if found else add_field(connection, _field_name(exposures), now_utc)
    return _ensure_epoch(connection, field_id, label)


def _carry_out(
    connection: Connection,
    exposures: Sequence[Exposure],
    plan: EpochPlan,
    now_utc: datetime,
) -> list[Placement]:
    """Make the fields and epochs of a plan, and merge fields."""
    names = load_epochs_by_id(connection)
    for merge in plan.merges:
        merge_fields(connection, merge.field_id, merge.absorbed_id, now_utc)
    members: dict[int, list[Exposure]] = {}
    for exposure, number in zip(exposures, plan.new_epoch, strict=True):
        if number != NONE:
            new_field = plan.new_epochs[number].new_field
            members.setdefault(new_field, []).append(exposure)
    fields = {
        number: add_field(connection, _field_name(members[number]), now_utc)
        for number in range(plan.n_new_fields)
    }
    new_ids = [
        add_epoch(
            connection,
            fields[epoch.new_field] if epoch.field_id == NONE else epoch.field_id,
            None,
        )
        for epoch in plan.new_epochs
    ]
    joined = {
        conflict.index: (names[conflict.epoch_id_1], names[conflict.epoch_id_2])
        for conflict in plan.conflicts
    }
    return [
        Placement(
            int(epoch_id) if epoch_id != NONE else (new_ids[number] if number != NONE else NONE),
            joined.get(index, ()),
        )
        for index, (epoch_id, number) in enumerate(zip(plan.epoch_id, plan.new_epoch, strict=True))
    ]


def _field_name(exposures: Sequence[Exposure]) -> str:
    """Name a new field: the proposer's target of its first exposure, else its place on the sky."""
    first = min(exposures, key=lambda exposure: (exposure.expstart_mjd_utc, exposure.file_name))
    if first.target:
        return first.target
    centres = [unit_vectors(*exposure.footprint.T).mean(axis=0) for exposure in exposures]
    ra_deg, dec_deg = sky_position(np.mean(sorted(map(tuple, centres)), axis=0))
    hours, degrees = float(ra_deg) / 15.0, abs(float(dec_deg))
    right_ascension = f"{int(hours):02d}{int(hours % 1 * 60):02d}"
    declination = f"{int(degrees):02d}{int(degrees % 1 * 60):02d}"
    return f"J{right_ascension}{'-' if dec_deg < 0 else '+'}{declination}"
