"""Import of the offsets of others: into our sign, to a named datum, with the original beside it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from calreg._version import __version__
from calreg.db.queries.exposures import add_ingest
from calreg.db.queries.external import (
    StoredSolution,
    StoredValue,
    insert_solutions,
    insert_values,
    load_offsets_given,
    load_solutions,
)
from calreg.domain import SetQuery
from calreg.errors import ConflictError, FileFormatError, InvalidValueError
from calreg.files.exchange.external import ExternalTable, read_csv_table, read_grizli_table
from calreg.files.exchange.recipe import read_recipe
from calreg.files.readguard import refuse_damaged
from calreg.science.external import (
    ExternalValue,
    Method,
    Sense,
    ValueState,
    offset_of,
    pixel_area_offset_mag,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.db.engine import Connection, Database
    from calreg.domain import Pmap
    from calreg.instruments import Instrument

NO_PARTNER = "without the other module's array"
NOT_MEASURED = "no data, or both arrays held fixed"


class Datum(StrEnum):
    """What is held at zero in the shares of the modules."""

    B = "B"
    A = "A"
    GIVEN = "given"
    """As the table has it, such as all arrays relative to nrcb1."""


@dataclass(frozen=True)
class ImportOptions:
    """What no table says by itself.

    Attributes
    ----------
    source : str
        Citation that tells the solution from others.
    sense : Sense
        Whether flux is multiplied or divided by the numbers.
    method : Method
        Whether they were measured on sources or on the sky.
    pmap : Pmap or None
        Only entries of this context; the context of those that state none.
    with_commented : bool
        Take entries of a grizli table that are commented out too.

    Raises
    ------
    InvalidValueError
        If `source` is empty.
    """

    source: str
    sense: Sense
    method: Method
    datum: Datum = Datum.B
    pmap: Pmap | None = None
    with_commented: bool = False

    def __post_init__(self) -> None:
        """Refuse a solution without name."""
        _require_source(self.source)


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes
    ----------
    n_solutions : int
        Differences A - B in the file.
    is_new : bool
        False when all of it was imported before.
    pmaps : list of str
        Contexts that they correct.
    left_out : dict of str to int
        Entries and differences that are not there, by reason.
    """

    n_solutions: int
    is_new: bool
    n_values: int = 0
    pmaps: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def import_grizli(
    database: Database, path: Path, options: ImportOptions, instrument: Instrument
) -> ImportReport:
    """Import a table of grizli's; see `Registry.import_grizli`."""
    with refuse_damaged(path):
        table = read_grizli_table(
            path, instrument, pmap=options.pmap, with_commented=options.with_commented
        )
    if table.divide_line and options.sense is Sense.MULTIPLY:
        msg = (
            f"{path}: --sense multiply, but the file says {table.divide_line!r}: "
            "import it with --sense divide"
        )
        raise InvalidValueError(msg)
    return _import_table(database, path, table, options, instrument)


def import_csv(
    database: Database, path: Path, options: ImportOptions, instrument: Instrument
) -> ImportReport:
    """Import a CSV table; see `Registry.import_csv`."""
    with refuse_damaged(path):
        table = read_csv_table(path, instrument, pmap=options.pmap)
    return _import_table(database, path, table, options, instrument)


def _import_table(
    database: Database,
    path: Path,
    table: ExternalTable,
    options: ImportOptions,
    instrument: Instrument,
) -> ImportReport:
    """Store a table: its numbers by array, and the differences between modules."""
    if not table.values:
        reasons = "; ".join(f"{n} {why}" for why, n in sorted(table.n_left_out.items()))
        msg = f"{path}: no entries to import{f': {reasons}' if reasons else ''}"
        raise FileFormatError(msg)
    given = [_stored_value(value, path, table, options) for value in table.values]
    solutions, as_given, left_out = _solutions(given, options, instrument)
    values = [stored for stored in given if stored.value.array]
    with database.write() as connection:
        new_values = _new_values(connection, values, path, options.source)
        is_new = _are_new(connection, solutions, path)
        if new_values or any(is_new):
            ingest_id = add_ingest(connection, datetime.now(UTC), __version__)
            insert_values(connection, new_values, ingest_id)
            chosen = [index for index, new in enumerate(is_new) if new]
            insert_solutions(
                connection,
                [solutions[index] for index in chosen],
                [as_given[index] for index in chosen],
                ingest_id,
            )
    return ImportReport(
        n_solutions=len(solutions),
        is_new=bool(new_values) or any(is_new),
        n_values=len(values),
        pmaps=[pmap.name for pmap in sorted({value.pmap for value in table.values})],
        left_out=dict(sorted((table.n_left_out + left_out).items())),
    )


def _stored_value(
    value: ExternalValue, path: Path, table: ExternalTable, options: ImportOptions
) -> StoredValue:
    """Convert a number into our sign."""
    offset_mag, err_mag = offset_of(value, options.sense)
    return StoredValue(
        source=options.source,
        value=value,
        sense=options.sense,
        method=options.method,
        offset_mag=offset_mag,
        offset_err_mag=err_mag,
        file_name=path.name,
        file_sha256=table.file_sha256,
    )


def _solutions(
    given: Sequence[StoredValue], options: ImportOptions, instrument: Instrument
) -> tuple[list[StoredSolution], list[object], Counter[str]]:
    """Form the differences A - B; count what has none."""
    by_key: dict[tuple[Pmap, str, str], dict[str, StoredValue]] = defaultdict(dict)
    for stored in given:
        value = stored.value
        module = instrument.array(value.array).module if value.array else "AB"
        by_key[value.pmap, value.band, value.array_id][module] = stored
    solutions: list[StoredSolution] = []
    as_given: list[object] = []
    left_out: Counter[str] = Counter()
    for _, found in sorted(by_key.items()):
        if "AB" in found:
            solutions.append(_difference(found["AB"], None, options))
        elif len(found) == 1:
            left_out[NO_PARTNER] += 1
            continue
        elif not _is_measured(found["A"], found["B"]):
            left_out[NOT_MEASURED] += 1
            continue
        else:
            solutions.append(_difference(found["A"], found["B"], options))
        as_given.append([asdict(stored.value) for _, stored in sorted(found.items())])
    return solutions, as_given, left_out


def _is_measured(first: StoredValue, second: StoredValue) -> bool:
    """Tell whether anything is known of a difference."""
    states = [first.value.state, second.value.state]
    return ValueState.NONE not in states and states != [ValueState.DATUM, ValueState.DATUM]


def _difference(
    first: StoredValue, second: StoredValue | None, options: ImportOptions
) -> StoredSolution:
    """Return the solution of A against B, or of one number that is the difference already.

    Errors of the two are taken as independent.
    """
    if second is None:
        offset_a, offset_b, err_mag = first.offset_mag, 0.0, first.offset_err_mag
        states = {first.value.state}
    else:
        offset_a, offset_b = first.offset_mag, second.offset_mag
        err_mag = _joint_err_mag(first.offset_err_mag, second.offset_err_mag)
        states = {first.value.state, second.value.state}
    offset_ab = offset_a - offset_b
    if options.datum is not Datum.GIVEN:
        is_b = options.datum is Datum.B
        offset_a, offset_b = (offset_ab, 0.0) if is_b else (0.0, 0.0 - offset_ab)
    is_interpolated = ValueState.INTERPOLATED in states
    return StoredSolution(
        source=first.source,
        pmap=first.value.pmap,
        band=first.value.band,
        array_id=first.value.array_id,
        offset_ab_mag=offset_ab,
        offset_ab_err_mag=err_mag,
        slope_mag_arcmin=0.0,
        slope_err_mag_arcmin=0.0,
        offset_a_mag=offset_a,
        offset_b_mag=offset_b,
        sense=first.sense,
        method=first.method,
        state=ValueState.INTERPOLATED if is_interpolated else ValueState.MEASURED,
        datum=options.datum,
        pixar_ab_mag=_pixar_ab_mag(first, second),
        file_name=first.file_name,
        file_sha256=first.file_sha256,
    )


def _joint_err_mag(first: float | None, second: float | None) -> float | None:
    """Return the error of a difference; None where one of the two is not stated."""
    return None if first is None or second is None else math.hypot(first, second)


def _pixar_ab_mag(first: StoredValue, second: StoredValue | None) -> float | None:
    """Return by how much point sources differ from surface brightness between two arrays."""
    if second is None or first.value.pixar_sr is None or second.value.pixar_sr is None:
        return None
    return pixel_area_offset_mag(first.value.pixar_sr, second.value.pixar_sr)


def _new_values(
    connection: Connection, values: Sequence[StoredValue], path: Path, source: str
) -> list[StoredValue]:
    """Return the numbers that the source has not given before; refuse others for the same key."""
    known = load_offsets_given(connection, source)
    new = []
    for stored in values:
        value = stored.value
        before = known.get((value.pmap.number, value.band, value.array))
        if before is None:
            new.append(stored)
        elif before != (stored.offset_mag, stored.offset_err_mag):
            msg = (
                f"{path.name}: line {value.line}: source {source!r} has {before[0]:+.5f} mag for "
                f"{value.array} {value.band} under {value.pmap} already, now "
                f"{stored.offset_mag:+.5f} mag; give the new table a --source of its own, or check "
                "--sense"
            )
            raise ConflictError(msg)
    return new


def _are_new(connection: Connection, solutions: Sequence[StoredSolution], path: Path) -> list[bool]:
    """Tell which solutions the source has not given before; refuse others for the same key."""
    is_new = []
    known: dict[tuple[Pmap, str, str], StoredSolution] = {}
    if solutions:
        for one in load_solutions(connection, source=solutions[0].source):
            known[one.pmap, one.band, one.array_id] = one
    for one in solutions:
        before = known.get((one.pmap, one.band, one.array_id))
        is_new.append(before is None)
        if before is not None and _essence(before) != _essence(one):
            msg = (
                f"{path.name}: source {one.source!r} already has {one.band} array {one.array_id} "
                f"under {one.pmap} from {before.file_name}: {_told(before)}, now {_told(one)}; "
                "give the new table a --source of its own"
            )
            raise ConflictError(msg)
    return is_new


def _essence(one: StoredSolution) -> tuple[object, ...]:
    """Return the part that must not change under one source."""
    return (one.offset_ab_mag, one.offset_ab_err_mag, one.method, one.state, one.datum)


def _told(one: StoredSolution) -> str:
    """Name a solution in a few words."""
    return f"{one.offset_ab_mag:+.5f} mag ({one.method}, datum {one.datum})"


# --- the published recipe -------------------------------------------------------------------------


def import_recipe(
    database: Database, path: Path, instrument: Instrument, pmap: Pmap, source: str
) -> ImportReport:
    """Import a published recipe as an external solution; see `Registry.import_recipe`."""
    _require_source(source)
    with refuse_damaged(path):
        recipe = read_recipe(path, instrument)
    with database.write() as connection:
        known = load_solutions(connection, SetQuery(pmap), source=source)
        if known and all(solution.file_sha256 == recipe.file_sha256 for solution in known):
            return ImportReport(len(recipe.rows), is_new=False, pmaps=[pmap.name])
        taken = {(solution.band, solution.array_id) for solution in known}
        clash = [row for row in recipe.rows if (row.band, row.array_id) in taken]
        if clash:
            msg = (
                f"{path.name}: source {source!r} already has {clash[0].band} array "
                f"{clash[0].array_id} under {pmap.name} from {known[0].file_name} with other "
                "content; give the new table a --source of its own"
            )
            raise ConflictError(msg)
        solutions = [
            StoredSolution(
                **vars(row),
                source=source,
                pmap=pmap,
                sense=Sense.MULTIPLY,
                method=Method.STAR,
                state=ValueState.MEASURED,
                datum=Datum.GIVEN,
                pixar_ab_mag=None,
                file_name=path.name,
                file_sha256=recipe.file_sha256,
            )
            for row in recipe.rows
        ]
        ingest_id = add_ingest(connection, datetime.now(UTC), __version__)
        insert_solutions(connection, solutions, recipe.as_given, ingest_id)
        return ImportReport(len(recipe.rows), is_new=True, pmaps=[pmap.name])


def _require_source(source: str) -> None:
    """Refuse an empty citation."""
    if not source.strip():
        msg = "an external solution needs --source: a citation that tells it from others"
        raise InvalidValueError(msg)
