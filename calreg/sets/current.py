"""Which sets are used under a context: one for each band and array id, or why there is none.

Everything that writes or changes data by coefficient sets chooses them here.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from calreg.db.queries.acceptances import load_set_states
from calreg.db.queries.sets import SetFilter, StoredSet, load_sets
from calreg.domain import SetStatus
from calreg.errors import InvalidValueError, NoCalibrationError
from calreg.sets.validrange import valid_range

if TYPE_CHECKING:
    from calreg.db.engine import Connection
    from calreg.db.queries.acceptances import SetStates
    from calreg.domain import SetQuery
    from calreg.instruments import Instrument


class Key(NamedTuple):
    """What has one set in use under a context."""

    band: str
    array_id: str


def one_set_per_key(
    connection: Connection,
    wanted: SetQuery,
    instrument: Instrument,
    left_out: list[str] | None = None,
) -> list[StoredSet]:
    """Return the sets to be used under a context, one for each band and array id.

    Parameters
    ----------
    wanted : SetQuery
        With the context. A set of another context counts if it is accepted for this one.
    left_out : list of str, optional
        Takes the reasons for keys whose sets may not be used, in place of an error.

    Returns
    -------
    list of StoredSet
        In the order of field, band and array id. Where several are current, from different fields
        or fluxes, the accepted one is taken.

    Raises
    ------
    NoCalibrationError
        If there is none at all, or a band and array id has sets none of which may be used: they
        were withdrawn, are not accepted, or PHOTMJSR turned out to differ. The message says why.
    InvalidValueError
        If a key has several current sets and none of them is accepted.
    """
    by_key: dict[Key, list[StoredSet]] = defaultdict(list)
    for stored in load_sets(connection, SetFilter(wanted, for_use=True, all_versions=True)):
        by_key[Key(stored.band, stored.array_id)].append(stored)
    states = load_set_states(connection, wanted.as_of_utc)
    usable = {}
    barred = []
    for key, sets in by_key.items():
        current = [stored for stored in sets if stored.status == SetStatus.CURRENT]
        if current:
            usable[key] = _only_one(current)
        else:
            barred += [_why_barred(stored, states) for stored in _newest_of_each(sets)]
    if left_out is not None and usable:
        left_out += barred
    elif barred:
        msg = f"{wanted.pmap}: no set may be used for {'; '.join(barred)}"
        raise NoCalibrationError(msg)
    if not usable:
        raise NoCalibrationError(_nothing_known(connection, wanted))
    for stored in usable.values():
        _require_equal_photmjsr(connection, stored, wanted, instrument)
    chosen = set(map(id, usable.values()))
    return [stored for sets in by_key.values() for stored in sets if id(stored) in chosen]


def _only_one(sets: list[StoredSet]) -> StoredSet:
    """Return the only set of a key, or the accepted one of several."""
    accepted = [stored for stored in sets if stored.acceptance is not None]
    if len(accepted) == 1:
        return accepted[0]
    if len(sets) > 1:
        first, second = sets[:2]
        msg = (
            f"{first.band} array {first.array_id} has two current sets: "
            f"field {first.field!r} ({first.image_kind}, {first.flux_kind}) and "
            f"field {second.field!r} ({second.image_kind}, {second.flux_kind}); "
            "choose with --field or --flux, or accept one with calreg promote"
        )
        raise InvalidValueError(msg)
    return sets[0]


def _require_equal_photmjsr(
    connection: Connection, stored: StoredSet, wanted: SetQuery, instrument: Instrument
) -> None:
    """Refuse an accepted set where what is recorded now no longer bears its range out."""
    if wanted.pmap is None or stored.pmap == wanted.pmap:
        return
    valid = valid_range(connection, stored, instrument, wanted.as_of_utc)
    broken = valid.break_towards(stored.pmap, wanted.pmap)
    is_open = stored.acceptance is not None and stored.acceptance.pmap_to is None
    why = ""
    if broken is not None:
        why = f"{broken.pmap} {broken.status}: {broken.change_text()}"
    elif wanted.pmap < valid.pmap_from:
        why = valid.why_from
    elif wanted.pmap > valid.pmap_to and not is_open:
        why = valid.why_to
    if why:
        msg = (
            f"{wanted.pmap}: {stored.band} array {stored.array_id}: set {stored.set_id} of "
            f"{stored.pmap} is accepted for it, but PHOTMJSR are no longer known to be equal: "
            f"{why}; promote it for a range that ends before, and fit or promote a set for this "
            "context"
        )
        raise NoCalibrationError(msg)


def _newest_of_each(sets: list[StoredSet]) -> list[StoredSet]:
    """Return the candidates of a key without current set, else its last withdrawn set."""
    told = [stored for stored in sets if stored.status == SetStatus.CANDIDATE]
    return told or [stored for stored in sets if stored.status == SetStatus.WITHDRAWN][-1:]


def _why_barred(stored: StoredSet, states: SetStates) -> str:
    """Explain why a set is not used, and what helps."""
    name = f"{stored.band} array {stored.array_id}"
    if stored.withdrawal is not None:
        return (
            f"{name}: set {stored.set_id} (version {stored.version}) was withdrawn "
            f"{stored.withdrawal.withdrawn_utc:%Y-%m-%d %H:%M} UTC: {stored.withdrawal.reason} "
            "(calreg promote takes an older version, new data a new fit)"
        )
    ended = [
        found
        for found in states.acceptances
        if (found.band, found.array_id) == (stored.band, stored.array_id)
        and found.ended_utc is not None
    ]
    why = f"; set {ended[-1].set_id} is no longer accepted: {ended[-1].end_reason}" if ended else ""
    return (
        f"{name}: set {stored.set_id} (version {stored.version}) is a candidate only{why} "
        f"(calreg promote {stored.set_id} --reason TEXT accepts it)"
    )


def _nothing_known(connection: Connection, wanted: SetQuery) -> str:
    """Report that there is no set, and which contexts have some."""
    known = sorted({stored.pmap for stored in load_sets(connection, SetFilter())})
    asked = [str(wanted.pmap), wanted.band, wanted.field and f"in field {wanted.field!r}"]
    return (
        f"no coefficient set for {' '.join(filter(None, asked))}: there are sets for "
        f"{', '.join(pmap.name for pmap in known) or 'none yet'}; run calreg refit after "
        "ingesting two epochs with opposite rolls"
    )
