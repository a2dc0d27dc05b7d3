"""The current sets that a correction is made from: one for each band and array id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.db.queries.sets import SetFilter, StoredSet, load_sets
from calreg.errors import InvalidValueError, NoCalibrationError

if TYPE_CHECKING:
    from calreg.db.engine import Connection


def one_set_per_key(connection: Connection, wanted: SetFilter) -> list[StoredSet]:
    """Return the current sets of one context, one for each band and array id.

    Parameters
    ----------
    connection : Connection
    wanted : SetFilter
        With a context.

    Returns
    -------
    list of StoredSet

    Raises
    ------
    NoCalibrationError
        If there is none.
    InvalidValueError
        If a key has several, from different fields or fluxes.
    """
    sets = load_sets(connection, wanted)
    if not sets:
        known = sorted({stored.pmap for stored in load_sets(connection, SetFilter())})
        names = ", ".join(pmap.name for pmap in known) or "none yet"
        msg = (
            f"no coefficient set for {wanted.pmap}"
            f"{f' in field {wanted.field!r}' if wanted.field else ''}: there are sets for {names}; "
            "run calreg refit after ingesting two epochs with opposite rolls"
        )
        raise NoCalibrationError(msg)
    seen: dict[tuple[str, str], StoredSet] = {}
    for stored in sets:
        other = seen.setdefault((stored.band, stored.array_id), stored)
        if other is not stored:
            msg = (
                f"{stored.band} array {stored.array_id} has two current sets: "
                f"field {other.field!r} ({other.image_kind}, {other.flux_kind}) and "
                f"field {stored.field!r} ({stored.image_kind}, {stored.flux_kind}); "
                "choose with --field or --flux"
            )
            raise InvalidValueError(msg)
    return sets
