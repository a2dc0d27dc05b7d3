"""Records of corrected files: what the database refuses, and which corrections still hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from calreg.db.queries.applications import (
    Application,
    insert_applications,
    known_application_ids,
    load_applied,
)
from calreg.domain import Pmap
from calreg.errors import ConflictError
from support.registryrows import DIGEST, MOMENT, refused_write

if TYPE_CHECKING:
    from calreg.db.engine import Database

PLAIN = Application(
    kind="apply",
    application_id="a1",
    origin="measured",
    set_id="of another registry",
    pmap=Pmap(1130),
    array="nrca1",
    band="F200W",
    photom_factor=1.01,
    file_name="a_cal.fits",
    directory="folder",
    sha256_before=DIGEST,
    sha256_after=DIGEST.replace("0", "1"),
    created_utc=MOMENT,
    code_version="0.1.0",
)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"kind": "redo"}, "ck_applications_kind"),
        ({"origin": "guessed"}, "ck_applications_origin"),
        ({"application_id": ""}, "ck_applications_application_id"),
        ({"set_id": ""}, "ck_applications_set_id"),
        ({"photom_factor": 0.0}, "ck_applications_photom_factor"),
        ({"sha256_before": "0"}, "ck_applications_sha256_before"),
        ({"sha256_after": "0"}, "ck_applications_sha256_after"),
    ],
)
def test_checks(database: Database, change: dict[str, str], name: str) -> None:
    with refused_write(database, ConflictError, rf"\b{name}\b") as connection:
        insert_applications(connection, [replace(PLAIN, **change)])  # type: ignore[arg-type]


def test_what_is_written_is_read(database: Database) -> None:
    with database.write() as connection:
        insert_applications(connection, [PLAIN])
    with database.read() as connection:
        assert load_applied(connection) == [PLAIN]
        assert known_application_ids(connection, {"a1", "a2"}) == {"a1"}


def test_which_corrections_hold(database: Database) -> None:
    other = replace(PLAIN, application_id="b1", file_name="b_cal.fits")
    rows = [
        PLAIN,
        other,
        replace(PLAIN, kind="undo"),  # restored
        replace(other, kind="undo", directory="elsewhere"),  # a copy was restored
        replace(other, application_id="c1", file_name="c_cal.fits"),
        replace(other, application_id="c2", file_name="c_cal.fits"),  # corrected again
        replace(other, kind="undo", application_id="c1", file_name="c_cal.fits"),
    ]
    with database.write() as connection:
        insert_applications(connection, rows)
    with database.read() as connection:
        held = {(one.file_name, one.application_id) for one in load_applied(connection)}
    assert held == {("b_cal.fits", "b1"), ("c_cal.fits", "c2")}
