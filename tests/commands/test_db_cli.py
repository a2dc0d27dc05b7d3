"""``calreg db``: what it prints, in every format, on both engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commandline import Result

    Run = Callable[..., Result]

HEAD = "0001"


def test_init_says_what_it_did(calreg: Run, empty_db_url: str) -> None:
    first = calreg("--db", empty_db_url, "db", "init", "--format", "json")
    assert (first.status, first.json) == (0, [{"created": True, "revision": HEAD}])
    again = calreg("db", "init", "--db", empty_db_url, "--format", "csv")
    assert again.csv == [{"created": "False", "revision": HEAD}]
    in_words = calreg("--db", empty_db_url, "db", "init")
    assert in_words.out == ""
    assert in_words.err == f"nothing to do: the tables are there (schema revision {HEAD})\n"


def test_upgrade_of_a_current_registry_changes_nothing(calreg: Run, db_url: str) -> None:
    in_words = calreg("--db", db_url, "db", "upgrade")
    assert (in_words.status, in_words.out) == (0, "")
    assert in_words.err == f"nothing to do: the schema is at revision {HEAD}\n"
    machine = calreg("--db", db_url, "--format", "json", "db", "upgrade")
    assert machine.json == [{"before": HEAD, "after": HEAD}]


def test_stats_counts_every_table(calreg: Run, db_url: str) -> None:
    described = calreg("--db", db_url, "db", "stats", "--format", "json").json
    assert described["revision"] == HEAD
    assert described["size_bytes"] > 0
    rows = calreg("--db", db_url, "db", "stats", "--format", "csv").csv
    assert {row["table"]: int(row["n_rows"]) for row in rows} == described["n_rows"]
    filled = {name: n for name, n in described["n_rows"].items() if n}
    assert filled == {"instrument": 1}  # whose data it will hold


def test_a_sound_registry_passes_the_check(calreg: Run, db_url: str) -> None:
    checked = calreg("--db", db_url, "db", "check", "--format", "json")
    assert (checked.status, checked.json) == (0, [])
