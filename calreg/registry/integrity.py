"""Digest checks of ``calreg db check``: sets against their ids, files against what was recorded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from calreg.db.health import Problem, ProblemKind
from calreg.db.queries.acceptances import find_foreign_acceptances
from calreg.db.queries.applications import known_application_ids
from calreg.db.queries.contents import load_delivered_files, load_ingested_files
from calreg.db.queries.sets import SetFilter, load_covariance, load_sets
from calreg.db.queries.zeropoints import find_calibration_conflicts
from calreg.errors import CalregError
from calreg.files.atomic import sha256_of
from calreg.files.fits.headers import read_headers
from calreg.files.images.calibration import read_record
from calreg.refit.keyfit import make_set_id

if TYPE_CHECKING:
    from calreg.db.engine import Connection
    from calreg.db.queries.contents import RecordedFile
    from calreg.db.queries.sets import StoredSet

_RELATIVE_TOLERANCE = 1e-9
"""Rounding of a square root; an altered number differs by far more."""


def check_sets(connection: Connection) -> list[Problem]:
    """Compare every set with its id and its covariance, and acceptances with their sets."""
    return [
        Problem(ProblemKind.DIGEST, "coefficient_sets", message)
        for stored in load_sets(connection, SetFilter(all_versions=True))
        for message in _set_problems(stored, load_covariance(connection, stored.pk))
    ] + [
        Problem(ProblemKind.DIGEST, "acceptances", message)
        for message in find_foreign_acceptances(connection)
    ]


def check_calibrations(connection: Connection) -> list[Problem]:
    """Look for several PHOTMJSR of one array and band under one context."""
    return [
        Problem(ProblemKind.CALIBRATION, "exposures", conflict.message)
        for conflict in find_calibration_conflicts(connection)
    ]


def _set_problems(stored: StoredSet, covariance: dict[tuple[str, str], float]) -> list[str]:
    """List the inconsistencies of one set."""
    name = f"set {stored.set_id} ({stored.pmap} {stored.band} array {stored.array_id})"
    problems = []
    if stored.set_id != make_set_id(stored.input_digest, stored.version):
        problems.append(f"{name}: its id does not fit its input digest and version")
    if not stored.coefficients:
        problems.append(f"{name}: it has no coefficients")
    for coefficient, (_, err) in stored.coefficients.items():
        variance = covariance.get((coefficient, coefficient), math.nan)
        if not math.isclose(err * err, variance, rel_tol=_RELATIVE_TOLERANCE):
            problems.append(
                f"{name}: the error of {coefficient}, {err:.6g}, does not fit its variance "
                f"{variance:.6g}"
            )
    return problems


def check_files(connection: Connection) -> list[Problem]:
    """Compare files that are still in their place with the digests recorded of them."""
    problems = []
    for recorded in (*load_ingested_files(connection), *load_delivered_files(connection)):
        message = _file_problem(recorded)
        if message is not None and not _is_corrected(connection, recorded):
            problems.append(Problem(ProblemKind.DIGEST, recorded.table, message))
    return problems


def _is_corrected(connection: Connection, recorded: RecordedFile) -> bool:
    """Return whether an exposure changed because it was corrected in its place, by this registry.

    Its pixels may still be other ones than the correction left: they are not read.
    """
    try:
        record = read_record(read_headers(Path(recorded.directory) / recorded.file_name))
    except CalregError:
        return False
    return record is not None and bool(known_application_ids(connection, {record.application_id}))


def _file_problem(recorded: RecordedFile) -> str | None:
    """Describe the change of one file; None if it is unchanged or gone."""
    path = Path(recorded.directory) / recorded.file_name
    if not path.is_file():
        return None
    try:
        found = read_headers(path).sha256 if recorded.is_header_digest else sha256_of(path)
    except CalregError as error:
        return f"{path}: changed since it was recorded: {error}"
    if found == recorded.sha256:
        return None
    what = "headers" if recorded.is_header_digest else "content"
    return (
        f"{path}: {what} changed since it was recorded "
        f"(sha256 is {found[:12]}..., was {recorded.sha256[:12]}...)"
    )
