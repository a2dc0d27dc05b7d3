"""The questions on the command line: three forms, one stream for data, exit statuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from calreg import Registry
from calreg.commands.output import plain
from calreg.db.engine import open_database
from calreg.science.model.settings import FitSettings
from calreg.simulation.programme import TrueCoefficients
from support.programmes import OLD_PMAP, PMAP, Files, Prepared, small_programme, write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.commandline import Result

    Run = Callable[..., Result]

DESIGN_FIELDS = [
    "pmap",
    "band",
    "filter",
    "pupil",
    "array_id",
    "model",
    "version",
    "status",
    "datum",
    "offset_ab_mag",
    "offset_ab_err_mag",
    "slope_mag_arcmin",
    "slope_err_mag_arcmin",
    "time_mag",
    "time_err_mag",
    "n_pairs",
    "n_clipped",
    "floor_mag",
    "field",
    "created_utc",
    "set_id",
]
"""DESIGN.md, section 5."""

QUESTIONS = {
    "offsets": ("offsets",),
    "coefficients": ("coefficients",),
    "history": ("history", "--band", "F444W", "--array", "long"),
    "compare": ("compare",),
    "db stats": ("db", "stats"),
}


@pytest.fixture(scope="session")
def compared(jwidf: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield a copy with something to compare with: our own recipe, imported."""
    folder = tmp_path_factory.mktemp("compared")
    with jwidf.copy(folder) as url:
        with Registry(url) as registry:
            registry.export_recipe(folder / "recipe.ecsv", pmap=PMAP)
            registry.import_recipe(folder / "recipe.ecsv", pmap=PMAP, source="ourselves")
        yield url


# --- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_answers_in_three_forms(question: str, calreg: Run, compared: str) -> None:
    words = QUESTIONS[question]
    table = calreg("--db", compared, *words)
    as_json = calreg("--db", compared, *words, "--format", "json")
    as_csv = calreg(*words, "--format", "csv", "--db", compared)
    assert (table.status, as_json.status, as_csv.status) == (0, 0, 0)
    # Data on stdout; on stderr at most words about them.
    assert as_json.err == ""
    assert as_csv.err == ""
    n_title = 1 if question == "history" else 0
    n_rows = len(as_csv.csv)
    assert n_rows > 0
    # A head, a rule, the rows.
    assert len(table.out.splitlines()) == n_title + 2 + n_rows
    if question == "db stats":
        counts = as_json.json["n_rows"]
        assert {row["table"]: int(row["n_rows"]) for row in as_csv.csv} == counts
        return
    rows = as_json.json
    assert len(rows) == n_rows
    for row, text in zip(rows, as_csv.csv, strict=True):
        assert list(row) == list(text)
        for name, value in row.items():
            if isinstance(value, dict | list):
                assert json.loads(text[name]) == value
            elif value is None:
                assert text[name] == ""
            else:
                assert type(value)(text[name]) == value


def test_json_is_what_the_library_answers(calreg: Run, jwidf: Prepared) -> None:
    with Registry(jwidf.url, read_only=True) as registry:
        for words, rows in (
            (("coefficients", "--all-versions"), registry.coefficients(all_versions=True)),
            (("offsets", "--pmap", "1130"), registry.offsets(pmap=PMAP)),
            (
                ("history", "--band", "f356w", "--array", "nrcblong"),
                registry.history("F356W", "long"),
            ),
        ):
            result = calreg("--db", jwidf.url, *words, "--format", "json")
            assert result.json == json.loads(json.dumps(plain(rows)))


def test_coefficients_have_the_fields_of_the_design(calreg: Run, jwidf: Prepared) -> None:
    rows = calreg("coefficients", "--db", jwidf.url, "--format", "json").json
    assert len(rows) == 20
    for row in rows:
        assert [name for name in DESIGN_FIELDS if name not in row] == []
        assert row["status"] == "current"
        moment = datetime.fromisoformat(row["created_utc"])
        assert row["created_utc"].endswith("Z")
        assert moment.tzinfo is not None


def test_filters_and_versions(calreg: Run, jwidf: Prepared) -> None:
    def ask(*words: str) -> list[dict[str, object]]:
        result = calreg("--db", jwidf.url, "--format", "json", "coefficients", *words)
        assert result.status == 0
        found: list[dict[str, object]] = result.json
        return found

    (one,) = ask("--pmap", "1130", "--band", "f200w", "--array", "NRCA3")
    assert (one["pmap"], one["band"], one["array_id"], one["version"]) == (PMAP, "F200W", "3", 2)
    both = ask("--pmap", "1130", "--band", "F200W", "--array", "3", "--all-versions")
    assert [(row["version"], row["status"]) for row in both] == [
        (1, "superseded"),
        (2, "current"),
    ]
    # A moment between the two refits.
    between = datetime.fromisoformat(str(both[1]["created_utc"])) - timedelta(microseconds=1)
    then = ask("--as-of", between.isoformat(), "--pmap", "1130", "--band", "F200W", "--array", "3")
    assert [(row["version"], row["status"]) for row in then] == [(1, "current")]
    assert then[0]["set_id"] == both[0]["set_id"]


def test_as_of_before_everything_finds_nothing(calreg: Run, jwidf: Prepared) -> None:
    result = calreg("coefficients", "--db", jwidf.url, "--as-of", "2020-01-01")
    assert (result.status, result.out) == (1, "")
    assert "no coefficient set answers to that" in result.err
    as_json = calreg(
        "coefficients", "--db", jwidf.url, "--as-of", "2020-01-01T00:00Z", "--format", "json"
    )
    assert (as_json.status, as_json.json) == (1, [])


# --- tables ---------------------------------------------------------------------------------------


def test_tables_say_units_and_signs(calreg: Run, jwidf: Prepared) -> None:
    result = calreg("coefficients", "--db", jwidf.url, "--pmap", PMAP)
    head, _, *lines = result.out.splitlines()
    for words in ("offset A-B [mag]", "slope [mag/arcmin]", "pivot [arcmin]", "floor [mag]"):
        assert words in head
    # Nothing was fitted in time, so there is no column for it.
    assert "time" not in head
    lw = next(line.split() for line in lines if "F444W" in line)
    sw = next(line.split() for line in lines if "F200W" in line)
    assert lw[4].startswith("-0.0")
    assert lw[6].startswith("+0.00")
    # A gradient held at zero is a dash, not a measurement of zero.
    assert sw[6:8] == ["-", "-"]
    patches = calreg("offsets", "--db", jwidf.url, "--pmap", PMAP, "--band", "F444W").out
    assert "median [mag]" in patches.splitlines()[0]
    assert "2022-07-08" in patches
    history = calreg("history", "--db", jwidf.url, "--band", "F444W", "--array", "long").out
    assert history.splitlines()[0] == "F444W array long"
    assert "PHOTMJSR A" in history.splitlines()[1]
    assert [line.split()[0] for line in history.splitlines()[3:]] == [OLD_PMAP, PMAP]


def test_fitted_time_terms_are_shown(calreg: Run, small_url: str) -> None:
    with Registry(small_url) as registry:
        registry.refit(FitSettings(time="fit"))
        rows = registry.coefficients()
    head, _, *lines = calreg("coefficients", "--db", small_url).out.splitlines()
    assert "time [mag]" in head
    for line, row in zip(lines, rows, strict=True):
        assert f"{row.time_mag:+.5f}" in line.split()


def test_tables_are_not_cut_off_in_a_pipe(
    calreg: Run, compared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for words in QUESTIONS.values():
        result = calreg("--db", compared, *words)
        assert "…" not in result.out
        # One line a row below the rule: nothing is wrapped.
        n_rows = len(calreg("--db", compared, *words, "--format", "csv").csv)
        *_, rule = result.out.splitlines()[:-n_rows]
        assert set(rule) == {"─"}


# --- refit ----------------------------------------------------------------------------------------


def test_refit_tells_what_it_did_and_what_not(calreg: Run, db_url: str, small_files: Files) -> None:
    calreg("--db", db_url, "ingest", *small_files.select(epoch=1))
    waiting = calreg("--db", db_url, "refit")
    assert (waiting.status, waiting.out) == (0, "")
    assert waiting.err.count("waiting: JWIDF jwst_1130.pmap") == 5
    assert "no two epochs with opposite rolls yet" in waiting.err
    calreg("--db", db_url, "ingest", *small_files.select(epoch=2))
    first = calreg("--db", db_url, "refit")
    assert first.status == 0
    assert len(first.out.splitlines()) == 2 + 5
    assert "first fit" in first.out
    assert "astrometry jwst_1130.pmap F444W 2022-07-08 -> 2023-01-06" in first.err
    assert "fitted 5, left alone 0, not fitted 0, waiting 0" in first.err
    second = calreg("--db", db_url, "refit")
    assert (second.status, second.out) == (0, "")
    assert "left alone: 5 keys, inputs, settings and model unchanged" in second.err
    assert "fitted 0, left alone 5" in second.err
    refused = calreg("--db", db_url, "refit", "--mag-limit", "18.3")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.count("not fitted: JWIDF jwst_1130.pmap") == 5
    # The same again is no news.
    again = calreg("--db", db_url, "refit", "--mag-limit", "18.3")
    assert again.status == 0
    assert again.err.count("(nothing new since)") == 5
    report = calreg("--db", db_url, "refit", "--mag-limit", "21", "--format", "json").json
    assert len(report["fitted"]) == 5
    assert {outcome["reason"] for outcome in report["fitted"]} == {"settings changed"}
    assert {outcome["version"] for outcome in report["fitted"]} == {2}
    assert "astrometry" in report["pairing"]


# --- exit statuses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("coefficients", "--pmap", "latest"), "latest"),
        (("coefficients", "--band", "F445W"), "F445W"),
        (("coefficients", "--array", "5"), "array id '5'"),
        (("coefficients", "--as-of", "yesterday"), "yesterday"),
        (("coefficients", "--format", "xml"), "xml"),
        (("coefficients", "--no-such-option"), "--no-such-option"),
        (("history", "--band", "F444W"), "--array"),
        (("history", "--band", "F444W", "--array", "9"), "array id '9'"),
        (("history", "--band", "F444W", "--array", "long", "--from", "build"), "build"),
        (("offsets", "--snr", "-3"), "--snr -3"),
        (("offsets", "--pmap", "jwst-edit"), "jwst-edit"),
        (("compare", "--band", "red"), "red"),
        (("refit", "--slope", "steep"), "steep"),
        (("refit", "--axis", "up"), "up"),
        (("refit", "--mag-limit", "bright"), "--mag-limit"),
        (("export", "recipe", "out.ecsv", "--pmap", "latest"), "latest"),
        (("export", "recipe", "out.ecsv"), "--pmap"),
        (("export", "grizli", "out.yml", "--pmap", "1130", "--flux", "petrosian"), "petrosian"),
        (("import", "recipe", "in.ecsv", "--pmap", "1130", "--source", " "), "--source"),
        (("no-such-command",), "no-such-command"),
    ],
)
def test_values_that_cannot_be_are_usage_errors(
    words: tuple[str, ...], complaint: str, calreg: Run, tmp_path: Path
) -> None:
    """Exit status 2, before any database is looked for."""
    result = calreg("--db", tmp_path / "absent.sqlite", *words)
    assert result.status == 2
    assert result.out == ""
    assert complaint in " ".join(result.err.split())
    assert list(tmp_path.iterdir()) == []


def test_failures_are_one_line_and_status_1(calreg: Run, small: Prepared, tmp_path: Path) -> None:
    for words, complaint in (
        (("--db", tmp_path / "absent.sqlite", "coefficients"), "db init"),
        (("--db", "mysql://x", "coefficients"), "mysql"),
        (("--db", small.url, "history", "--band", "F356W", "--array", "long"), "nothing is known"),
        (("--db", small.url, "coefficients", "--pmap", "1200"), "no coefficient set"),
        (("--db", small.url, "coefficients", "--field", "COSMOS"), "the registry has 'JWIDF'"),
        (("--db", small.url, "offsets", "--field", "COSMOS"), "the registry has 'JWIDF'"),
        (("--db", small.url, "compare"), "calreg import recipe"),
    ):
        result = calreg(*words)
        assert result.status == 1
        assert result.out == ""
        assert complaint in result.err
        assert len(result.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_database_may_be_named_in_three_places(
    calreg: Run, small: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = calreg("--db", small.url, "coefficients", "--format", "csv")
    after = calreg("coefficients", "--db", small.url, "--format", "csv")
    assert before.status == 0
    assert before == after
    # What stands after the command wins; the environment comes last.
    assert calreg("--db", tmp_path / "no.sqlite", "coefficients", "--db", small.url).status == 0
    monkeypatch.setenv("CALREG_DB", small.url)
    assert calreg("--format", "csv", "coefficients") == before
    assert calreg("--db", tmp_path / "no.sqlite", "coefficients").status == 1


# --- db check -------------------------------------------------------------------------------------


def test_db_check_answers_with_its_status(calreg: Run, small_url: str) -> None:
    sound = calreg("db", "check", "--db", small_url)
    assert (sound.status, sound.out) == (0, "")
    assert "no problems found" in sound.err
    assert calreg("db", "check", "--db", small_url, "--format", "json").json == []
    with open_database(small_url) as database, database.connect() as connection:
        connection.exec_driver_sql("UPDATE coefficients SET err = 2 * err WHERE name = 'slope'")
        connection.commit()
    damaged = calreg("db", "check", "--db", small_url)
    assert damaged.status == 1
    assert "does not fit its variance" in damaged.out
    (problem,) = calreg("db", "check", "--db", small_url, "--format", "json").json
    assert problem["kind"] == "digest"
    assert problem["table"] == "coefficient_sets"


def test_history_of_contexts_in_order(calreg: Run, db_url: str, tmp_path: Path) -> None:
    pmaps = ("jwst_0999.pmap", "jwst_1000.pmap", "jwst_10000.pmap")
    truth = [TrueCoefficients(pmap, "F444W", "long", 0.01 * n) for n, pmap in enumerate(pmaps)]
    programme = small_programme(7, bands=("F444W",), pmaps=pmaps, truth=truth, n_epochs=2)
    files = write_files(programme, tmp_path / "files")
    assert calreg("--db", db_url, "ingest", files.directory).status == 0
    assert calreg("--db", db_url, "refit").status == 0
    words = ("--db", db_url, "history", "--band", "F444W", "--array", "long")
    rows = calreg(*words, "--format", "csv").csv
    assert [row["pmap"] for row in rows] == list(pmaps)
    assert rows[0]["change_mag"] == ""
    some = calreg(*words, "--from", "1000", "--to", "9999", "--format", "csv").csv
    assert [row["pmap"] for row in some] == ["jwst_1000.pmap"]


def test_now_is_utc(calreg: Run, small: Prepared) -> None:
    """A time without zone is UTC."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    assert calreg("coefficients", "--db", small.url, "--as-of", now).status == 0
