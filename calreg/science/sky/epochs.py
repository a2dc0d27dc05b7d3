"""Fields and epochs, found from footprints, rolls and times.

Two exposures are of one field when their footprints overlap or they belong to one visit; two of one
field are of one epoch when their rolls agree within `ROLL_TOLERANCE_DEG` and no more than
`MAX_GAP_DAYS` lie between them. Both relations are followed through any chain of exposures, so that
the result does not depend on the order in which files arrive. One thing does: epochs that exist
already are never joined; the exposure that would join them is refused, and leaves no link behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError
from calreg.science.sky.footprints import FootprintSet, pairs_between, pairs_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from calreg.domain import BoolArray, IntArray
    from calreg.science.sky.footprints import Footprint
    from calreg.units import FloatArray

ROLL_TOLERANCE_DEG = 2.0
"""Largest difference of roll between neighbours of one epoch; a chain may drift further."""

MAX_GAP_DAYS = 10.0
"""Longest time without an exposure inside one epoch."""

NONE = -1
"""Stands for no epoch and no field in arrays of identifiers."""


@dataclass(frozen=True)
class ExposureSet:
    """What decides to which field and epoch exposures belong; all of length n.

    Attributes
    ----------
    footprints : sequence of ndarray of float64, shape (n_vertices, 2), or of tuples of them
        ICRS (ra, dec) [deg].
    roll_deg : ndarray of float64, shape (n,)
        Angle of V3 [deg, north over east].
    expstart_mjd_utc, expend_mjd_utc : ndarray of float64, shape (n,)
        First and last moment [d].
    visit_keys : sequence of str
        Same text for exposures that always belong to one field; empty for none.
    """

    footprints: Sequence[Footprint] = field(repr=False)
    roll_deg: FloatArray = field(repr=False)
    expstart_mjd_utc: FloatArray = field(repr=False)
    expend_mjd_utc: FloatArray = field(repr=False)
    visit_keys: Sequence[str] = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse lengths that differ and numbers that cannot be placed."""
        sizes = {
            len(self.footprints),
            len(self.roll_deg),
            len(self.expstart_mjd_utc),
            len(self.expend_mjd_utc),
            len(self.visit_keys),
        }
        if len(sizes) != 1:
            msg = f"exposures: found columns of lengths {sorted(sizes)}, expected one length"
            raise InvalidValueError(msg)
        if not (
            np.isfinite(self.roll_deg).all()
            and np.isfinite(self.expstart_mjd_utc).all()
            and (self.expend_mjd_utc >= self.expstart_mjd_utc).all()
        ):
            msg = "exposures: expected finite rolls and times, none ending before it starts"
            raise InvalidValueError(msg)

    def __len__(self) -> int:
        """Return the number of exposures."""
        return len(self.footprints)


NO_EXPOSURES = ExposureSet((), np.empty(0), np.empty(0), np.empty(0), ())


@dataclass(frozen=True)
class KnownEpochs:
    """The exposures that are placed already, and the epochs they are in.

    Attributes
    ----------
    epoch_id : ndarray of int64, shape (n_exposures,)
        Epoch of each exposure.
    epoch_fields : mapping of int to int
        Field of each epoch; may name epochs without exposures.
    """

    exposures: ExposureSet = NO_EXPOSURES
    epoch_id: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64), repr=False)
    epoch_fields: Mapping[int, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse exposures of epochs that are not named."""
        missing = set(self.epoch_id.tolist()) - set(self.epoch_fields)
        if missing or len(self.epoch_id) != len(self.exposures):
            msg = (
                f"known epochs: {len(self.epoch_id)} epochs for {len(self.exposures)} exposures, "
                f"no field for epochs {sorted(missing)}: expected one epoch each, with a field"
            )
            raise InvalidValueError(msg)


@dataclass(frozen=True)
class Overrides:
    """Places given by the user, one value per new exposure, `NONE` where not given.

    Attributes
    ----------
    epoch_id : ndarray of int64, shape (n,)
        Existing epoch; the exposure then makes no link of its own.
    field_id : ndarray of int64, shape (n,)
        Existing field; overlaps and visit then do not decide its field.
    """

    epoch_id: IntArray = field(repr=False)
    field_id: IntArray = field(repr=False)

    @classmethod
    def none(cls, n_exposures: int) -> Overrides:
        """Return overrides that give nothing."""
        return cls(np.full(n_exposures, NONE), np.full(n_exposures, NONE))


@dataclass(frozen=True)
class NewEpoch:
    """An epoch to be made: in an existing field, or in one to be made.

    Attributes
    ----------
    field_id : int
        Existing field, or `NONE`.
    new_field : int
        Number of the field to be made, from 0, or `NONE`.
    """

    field_id: int
    new_field: int


@dataclass(frozen=True)
class FieldMerge:
    """An existing field whose epochs pass to another existing field with a smaller id."""

    field_id: int
    absorbed_id: int


@dataclass(frozen=True)
class EpochConflict:
    """A new exposure that would join two existing epochs.

    Attributes
    ----------
    index : int
        Row among the new exposures.
    epoch_id_1, epoch_id_2 : int
        The epochs, the smaller id first.
    """

    index: int
    epoch_id_1: int
    epoch_id_2: int


@dataclass(frozen=True)
class EpochPlan:
    """Where new exposures belong.

    Attributes
    ----------
    epoch_id : ndarray of int64, shape (n_new,)
        Existing epoch, or `NONE`.
    new_epoch : ndarray of int64, shape (n_new,)
        Row of `new_epochs`, or `NONE`. Both are `NONE` for a refused exposure only.
    new_epochs : tuple of NewEpoch
        In order of their first exposure.
    merges : tuple of FieldMerge
        Each absorbed field once, with its final field.
    conflicts : tuple of EpochConflict
        The refused exposures.
    """

    epoch_id: IntArray = field(repr=False)
    new_epoch: IntArray = field(repr=False)
    new_epochs: tuple[NewEpoch, ...]
    n_new_fields: int
    merges: tuple[FieldMerge, ...]
    conflicts: tuple[EpochConflict, ...]


def find_epochs(
    new: ExposureSet,
    identities: Sequence[str],
    known: KnownEpochs | None = None,
    overrides: Overrides | None = None,
) -> EpochPlan:
    """Place new exposures into existing or new fields and epochs.

    Parameters
    ----------
    identities : sequence of str
        One text per new exposure that orders exposures which start together.
    known : KnownEpochs, optional
        What is placed already; exposures far from any new one may be left out.

    Returns
    -------
    EpochPlan
        Does not depend on the order of the rows, numbering included.

    Raises
    ------
    InvalidValueError
        If columns differ in length, a number or a footprint is not usable, or an override names an
        epoch or a field that is not known.
    """
    known = KnownEpochs() if known is None else known
    overrides = Overrides.none(len(new)) if overrides is None else overrides
    if not len(new) == len(identities) == len(overrides.epoch_id) == len(overrides.field_id):
        msg = (
            f"{len(identities)} identities or overrides for {len(new)} exposures: expected one each"
        )
        raise InvalidValueError(msg)
    order = sorted(
        range(len(new)),
        # places given by the user come first: they are facts to those that are found
        key=lambda i: (overrides.epoch_id[i] == NONE, new.expstart_mjd_utc[i], identities[i]),
    )
    placing = _Placing(new, known, overrides, order)
    conflicts = [conflict for i in order if (conflict := placing.place(i)) is not None]
    return placing.plan(tuple(conflicts))


class _Placing:
    """Fields and epochs as labels of nodes; the known exposures are the first nodes.

    A known field or epoch has its row among the sorted ids as label, a new one the number of known
    ones plus the rank of the exposure that began it. Joined labels become the smallest of them.
    """

    def __init__(
        self, new: ExposureSet, known: KnownEpochs, overrides: Overrides, order: Sequence[int]
    ) -> None:
        self.epoch_ids = np.array(sorted(known.epoch_fields), dtype=np.int64)
        field_ids = set(known.epoch_fields.values()) | set(overrides.field_id.tolist())
        self.field_ids = np.array(sorted(field_ids - {NONE}), dtype=np.int64)
        self.field_of_epoch = self._rows(
            self.field_ids, [known.epoch_fields[i] for i in self.epoch_ids.tolist()], "field"
        )
        self.final_field = np.arange(len(self.field_ids))
        self.given_epoch = self._rows(self.epoch_ids, overrides.epoch_id, "epoch")
        self.given_field = self._rows(self.field_ids, overrides.field_id, "field")
        self.n_known, self.n_new = len(known.exposures), len(new)
        self.rank = np.empty(self.n_new, dtype=np.int64)
        self.rank[list(order)] = np.arange(self.n_new)
        both = (known.exposures, new)
        self.roll = np.concatenate([exposures.roll_deg for exposures in both]) % 360.0
        self.start = np.concatenate([exposures.expstart_mjd_utc for exposures in both])
        self.end = np.concatenate([exposures.expend_mjd_utc for exposures in both])
        self.epoch = np.full(self.n_known + self.n_new, NONE)
        self.epoch[: self.n_known] = self._rows(self.epoch_ids, known.epoch_id, "epoch")
        self.field = np.full(self.n_known + self.n_new, NONE)
        self.field[: self.n_known] = self.field_of_epoch[self.epoch[: self.n_known]]
        self.visit_keys = [*known.exposures.visit_keys, *new.visit_keys]
        self.visit_nodes: dict[str, list[int]] = {}
        for node, key in enumerate(known.exposures.visit_keys):
            self.visit_nodes.setdefault(key, []).append(node)
        self.neighbours = _neighbours(known.exposures.footprints, new.footprints)

    @staticmethod
    def _rows(ids: IntArray, values: Sequence[int] | IntArray, what: str) -> IntArray:
        """Return the row of each value among sorted ids, `NONE` for `NONE`."""
        wanted = np.asarray(values, dtype=np.int64)
        rows = np.searchsorted(ids, wanted)
        is_known = np.append(ids, NONE)[rows] == wanted
        if not (is_known | (wanted == NONE)).all():
            unknown = wanted[~is_known & (wanted != NONE)][0]
            msg = f"unknown {what} {unknown}: expected an existing one"
            raise InvalidValueError(msg)
        return np.where(wanted == NONE, NONE, rows)

    def place(self, index: int) -> EpochConflict | None:
        """Place one new exposure in a field and an epoch, or return the epochs it would join."""
        node = self.n_known + index
        if self.given_epoch[index] != NONE:
            epoch = int(self.given_epoch[index])
            self._settle(node, int(self.final_field[self.field_of_epoch[epoch]]), epoch)
            return None
        fields = self._fields_touched(node, index)
        own_epoch = len(self.epoch_ids) + int(self.rank[index])
        links = [
            (own_epoch, label)
            for label in set(self.epoch[self._close(node, self._is_in(fields))].tolist())
        ]
        links += self._links_between(fields)
        groups = _components(links)
        for group in groups:
            joined = [label for label in group if label < len(self.epoch_ids)]
            if len(joined) > 1:
                return EpochConflict(index, *self.epoch_ids[joined[:2]].tolist())
        for group in groups:
            if own_epoch in group:
                own_epoch = group[0]
            for label in group[1:]:
                self.epoch[self.epoch == label] = group[0]
        for label in fields[1:]:
            self.field[self.field == label] = fields[0]
            self.final_field[self.final_field == label] = fields[0]
        own_field = fields[0] if fields else len(self.field_ids) + int(self.rank[index])
        self._settle(node, own_field, own_epoch)
        return None

    def _is_in(self, fields: Sequence[int]) -> BoolArray:
        """Return which nodes are of any of some fields."""
        return self.field == fields[0] if len(fields) == 1 else np.isin(self.field, fields)

    def _settle(self, node: int, field_label: int, epoch_label: int) -> None:
        """Write down where a node belongs."""
        self.field[node], self.epoch[node] = field_label, epoch_label
        self.visit_nodes.setdefault(self.visit_keys[node], []).append(node)

    def _fields_touched(self, node: int, index: int) -> list[int]:
        """Return the sorted labels of the fields that an exposure is of."""
        if self.given_field[index] != NONE:
            return [int(self.final_field[self.given_field[index]])]
        labels = set(self.field[self.neighbours[index]].tolist())
        if self.visit_keys[node]:
            labels.update(self.field[self.visit_nodes.get(self.visit_keys[node], [])].tolist())
        return sorted(labels - {NONE})

    def _close(self, node: int, among: BoolArray) -> BoolArray:
        """Return which placed nodes have the roll and the time of one node."""
        turn = np.abs(self.roll - self.roll[node])
        gap = np.maximum(self.start, self.start[node]) - np.minimum(self.end, self.end[node])
        return np.asarray(
            among & (np.minimum(turn, 360.0 - turn) <= ROLL_TOLERANCE_DEG) & (gap <= MAX_GAP_DAYS)
        )

    def _links_between(self, fields: Sequence[int]) -> list[tuple[int, int]]:
        """Return the epochs that would be one if fields were one."""
        links: set[tuple[int, int]] = set()
        members = sorted((np.flatnonzero(self.field == label) for label in fields), key=len)
        # every exposure of the smaller fields against the larger ones
        for i, nodes in enumerate(members[:-1]):
            among = self._is_in([int(self.field[other[0]]) for other in members[i + 1 :]])
            for node in nodes.tolist():
                labels = set(self.epoch[self._close(node, among)].tolist())
                links.update((int(self.epoch[node]), label) for label in labels)
        return sorted(links)

    def plan(self, conflicts: tuple[EpochConflict, ...]) -> EpochPlan:
        """Turn labels into ids and numbers."""
        epoch, fields = self.epoch[self.n_known :], self.field[self.n_known :]
        n_epochs, n_fields = len(self.epoch_ids), len(self.field_ids)
        is_old = (epoch != NONE) & (epoch < n_epochs)
        order = np.argsort(epoch, kind="stable")
        ordered = epoch[order]
        is_first = np.diff(ordered, prepend=ordered[:1] - 1) != 0
        labels, first = ordered[is_first], order[is_first]
        new_epoch = np.searchsorted(labels, epoch)
        n_skipped = int(np.count_nonzero(labels < n_epochs))
        new_fields = sorted(set(fields[fields >= n_fields].tolist()))
        new_epochs = [
            NewEpoch(int(self.field_ids[label]), NONE)
            if label < n_fields
            else NewEpoch(NONE, new_fields.index(label))
            for label in fields[first[n_skipped:]].tolist()
        ]
        found = np.full(self.n_new, NONE)
        found[is_old] = self.epoch_ids[epoch[is_old]]
        return EpochPlan(
            epoch_id=found,
            new_epoch=np.where(epoch >= n_epochs, new_epoch - n_skipped, NONE),
            new_epochs=tuple(new_epochs),
            n_new_fields=len(new_fields),
            merges=tuple(
                FieldMerge(int(self.field_ids[final]), int(self.field_ids[label]))
                for label, final in enumerate(self.final_field.tolist())
                if final != label
            ),
            conflicts=conflicts,
        )


def _neighbours(known: Sequence[Footprint], new: Sequence[Footprint]) -> list[IntArray]:
    """Return for each new footprint the nodes whose footprints overlap it."""
    old_set, new_set = FootprintSet.of(known), FootprintSet.of(new)
    among_new, with_old = pairs_within(new_set), pairs_between(new_set, old_set)
    source = np.concatenate([among_new[:, 0], among_new[:, 1], with_old[:, 0]])
    target = np.concatenate(
        [among_new[:, 1] + len(known), among_new[:, 0] + len(known), with_old[:, 1]]
    )
    order = np.argsort(source, kind="stable")
    cuts = np.searchsorted(source[order], np.arange(1, len(new)))
    return list(np.split(target[order], cuts)) if len(new) else []


def _components(links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the connected groups of linked labels, each sorted, in order of their first label."""
    groups: dict[int, set[int]] = {}
    for one, other in links:
        joined = groups.get(one, {one}) | groups.get(other, {other})
        for label in joined:
            groups[label] = joined
    distinct = {id(group): group for group in groups.values()}
    return sorted(sorted(group) for group in distinct.values())
