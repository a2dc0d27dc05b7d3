"""``calreg validity``, ``promote`` and ``withdraw`` as a user types them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calreg.db.engine import open_database
from support.setrows import SetRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commandline import Result

    Run = Callable[..., Result]


@pytest.fixture
def set_id(db_url: str) -> str:
    """Store one set, with PHOTMJSR of its context, an equal and a different one."""
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        rows.add_zero_points(1130, 2.412, 2.447)
        rows.add_zero_points(1298, 2.412, 2.447)
        rows.add_zero_points(1400, 2.412, 2.450)
        return rows.add_set(1130)


def test_validity_says_the_range_and_why(calreg: Run, db_url: str, set_id: str) -> None:
    shown = calreg("--db", db_url, "validity", set_id[:8])
    assert (shown.status, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0].startswith(f"set {set_id}: F150W array 1 of jwst_1130.pmap, field JWIDF")
    assert lines[1:4] == [
        "may be used for jwst_1130.pmap to jwst_1298.pmap",
        "not earlier: no earlier context is recorded",
        "not later: jwst_1400.pmap differs: A -0.0000 mag, B -0.0013 mag (table of 1400)",
    ]
    assert len(lines) == 4 + 2 + 3
    report = calreg("validity", set_id, "--db", db_url, "--format", "json").json
    assert (report["pmap_from"], report["pmap_to"]) == ("jwst_1130.pmap", "jwst_1298.pmap")
    assert [row["status"] for row in report["contexts"]] == ["own", "equal", "differs"]
    rows = calreg("validity", set_id, "--db", db_url, "--format", "csv").csv
    assert [row["pmap"][5:9] for row in rows] == ["1130", "1298", "1400"]


def test_promote_and_withdraw_say_what_they_did(calreg: Run, db_url: str, set_id: str) -> None:
    words = ("promote", set_id[:8], "--to", "1298", "--reason", "all epochs", "--db", db_url)
    first = calreg(*words)
    name = f"set {set_id} (jwst_1130.pmap F150W array 1, version 1)"
    assert (first.status, first.out) == (0, "")
    assert first.err == f"accepted for jwst_1130.pmap to jwst_1298.pmap: {name}\n"
    again = calreg(*words)
    assert (again.status, again.err.split(":")[0]) == (0, "unchanged")
    assert calreg(*words, "--format", "json").json["outcome"] == "unchanged"
    shown = calreg("--db", db_url, "coefficients")
    assert "accepted for" in shown.out
    assert "jwst_1130.pmap to jwst_1298.pmap" in shown.out

    gone = calreg("withdraw", set_id, "--reason", "wrong flat", "--db", db_url)
    assert (gone.status, gone.out, gone.err) == (0, "", f"withdrawn: {name}\n")
    empty = calreg("--db", db_url, "coefficients")
    assert (empty.status, empty.out) == (1, "")
    assert "--all-versions" in empty.err
    listed = calreg("--db", db_url, "coefficients", "--all-versions")
    assert "withdrawn because" in listed.out
    assert "wrong flat" in listed.out
    (row,) = calreg("--db", db_url, "coefficients", "--all-versions", "--format", "json").json
    assert (row["status"], row["withdrawal_reason"]) == ("withdrawn", "wrong flat")
    refused = calreg("--db", db_url, "export", "recipe", "out.ecsv", "--pmap", "1130")
    assert refused.status == 1
    assert "wrong flat" in refused.err


def test_the_open_end_warns(calreg: Run, db_url: str) -> None:
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        rows.add_zero_points(1130, 2.412, 2.447)
        rows.add_zero_points(1569, 2.412, None)
        set_id = rows.add_set(1130)
    words = ("--db", db_url, "promote", set_id, "--open", "--reason", "until the next photom")
    done = calreg(*words)
    assert done.status == 0
    warning, told = done.err.splitlines()
    assert warning.startswith("warning: jwst_1569.pmap is newer and was seen: PHOTMJSR of nrcb1")
    assert told.startswith("accepted for jwst_1130.pmap to later ones: ")


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("promote", "SET", "--to", "1400", "--reason", "x"), 1, "as far as jwst_1298.pmap only"),
        (("promote", "SET", "--to", "latest", "--reason", "x"), 2, "latest"),
        (("promote", "SET", "--reason", " "), 2, "a few words"),
        (("promote", "SET"), 2, "--reason"),
        (("withdraw", "SET"), 2, "--reason"),
        (("withdraw", "nothing", "--reason", "x"), 1, "no set id"),
        (("validity", "0000ffff"), 1, "there is no set 0000ffff"),
        (("validity", "SET", "--as-of", "yesterday"), 2, "not a time"),
    ],
)
def test_what_is_refused(
    calreg: Run, db_url: str, set_id: str, words: tuple[str, ...], status: int, told: str
) -> None:
    given = [set_id if word == "SET" else word for word in words]
    result = calreg("--db", db_url, *given)
    assert (result.status, result.out) == (status, "")
    assert told in result.err
    if status == 1:
        assert len(result.err.splitlines()) == 1


def test_refit_says_what_is_in_use(calreg: Run, small_url: str) -> None:
    def current() -> dict[str, dict[str, object]]:
        rows = calreg("--db", small_url, "coefficients", "--format", "json").json
        return {f"{row['band']} {row['array_id']}": row for row in rows}

    before = current()
    accepted, bad = before["F200W 1"], before["F200W 2"]
    said = calreg("--db", small_url, "promote", accepted["set_id"], "--reason", "all epochs")
    assert said.status == 0
    assert calreg("--db", small_url, "withdraw", bad["set_id"], "--reason", "ghost").status == 0
    again = calreg("--db", small_url, "refit")
    assert "left alone: 5 keys, inputs, settings and model unchanged" in again.err
    assert "withdrawn: ghost" in again.err
    # Other settings give new sets: one is a candidate, and the withdrawn one has a successor.
    other = calreg("--db", small_url, "refit", "--mag-limit", "21.5")
    assert other.status == 0
    assert "1 of the new sets are candidates" in other.err
    after = current()
    assert after["F200W 1"]["set_id"] == accepted["set_id"]
    assert (after["F200W 2"]["version"], after["F200W 2"]["status"]) == (2, "current")
