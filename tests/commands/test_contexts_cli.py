"""``calreg diff``, ``predict``, ``pmap`` and ``history --plot``: words, formats, exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calreg.commands.data import _tell_residuals
from calreg.contexts.residuals import PredictionResidual
from calreg.db.engine import open_database
from support.contextfiles import write_photom
from support.contextrows import ContextRows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from calreg.db.engines.columns import ColumnValue
    from support.commandline import Result

    Run = Callable[..., Result]

REASON = "no delivery between them"


@pytest.fixture
def url(db_url: str) -> str:
    """A registry with two offsets under 1130, and PHOTMJSR of one of them later."""
    with open_database(db_url) as database, database.write() as connection:
        rows = ContextRows(connection)
        published: dict[str, ColumnValue] = {
            "kind": "published",
            "photmjsr_half_width": 0.0005,
            "source": "notes",
        }
        for pmap, value_a, value_b in (("1298", 2.100, 1.969), ("1568", 2.026, 1.987)):
            rows.photmjsr(pmap, "nrca2", value_a, **published)
            rows.photmjsr(pmap, "nrcb2", value_b, **published)
        rows.solution("1130", -0.0527, 0.0012, array_id="2", source="Ma et al.")
        rows.solution("1130", 0.0153, 0.0011, array_id="1", source="Ma et al.")
    return db_url


def test_predict_keys_and_unknowns(calreg: Run, url: str) -> None:
    words = ("predict", "--from", "1130", "--to", "1568", "--db", url, "--format", "json")
    before = calreg(*words)
    assert {row["status"] for row in before.json} == {"unknown"}
    declared = calreg("pmap", "equal", "1130", "1298", "--reason", REASON, "--db", url)
    assert declared.err == f"declared equal: jwst_1130.pmap = jwst_1298.pmap ({REASON})\n"
    after = calreg(*words)
    assert after.status == 0
    unknown, known = after.json
    assert {
        "array_id", "band", "filter", "pupil", "from_pmap", "to_pmap", "offset_ab_mag",
        "predicted_offset_ab_mag", "predicted_err_mag", "basis", "status",
    } <= set(known)  # fmt: skip
    assert (unknown["array_id"], unknown["status"]) == ("1", "unknown")
    assert unknown["predicted_offset_ab_mag"] is None
    assert (known["array_id"], known["status"]) == ("2", "ok")
    assert known["predicted_offset_ab_mag"] == pytest.approx(-0.00387, abs=1e-5)
    assert known["basis"] == (
        f"external: Ma et al.; declared equal: jwst_1130.pmap = jwst_1298.pmap ({REASON})"
    )
    assert "1 of 2 predicted, 1 unknown, 0 in conflict" in after.err
    assert "to know more: ingest exposures, photom files or a pmap of these contexts" in after.err


def test_predict_says_what_the_old_correction_does(calreg: Run, url: str) -> None:
    calreg("pmap", "equal", "1130", "1298", "--reason", REASON, "--db", url)
    result = calreg("predict", "--from", "1130", "--to", "1568", "--db", url)
    assert result.out.splitlines()[0] == (
        "m_A - m_B measured under jwst_1130.pmap, carried to jwst_1568.pmap"
    )
    line = next(line for line in result.out.splitlines() if line.startswith("F200W   2"))
    assert line.split()[3:9] == ["-0.0527", "0.0012", "+0.0488", "-0.0039", "0.0012", "-4.4"]
    assert f"] declared equal: jwst_1130.pmap = jwst_1298.pmap ({REASON})" in result.err
    assert (
        "whoever still applies the offsets of jwst_1130.pmap to data of jwst_1568.pmap puts an "
        "error of up to 4.4 % in (F200W array 2: 0.049 mag)"
    ) in result.err


def test_predict_without_a_measurement_fails(calreg: Run, url: str) -> None:
    result = calreg("predict", "--from", "1131", "--to", "1568", "--db", url)
    assert result.status == 1
    assert "was measured under jwst_1131.pmap: there are offsets under jwst_1130.pmap" in result.err
    assert calreg("predict", "--from", "latest", "--to", "1568", "--db", url).status == 2


def test_diff_keys_and_words(calreg: Run, url: str) -> None:
    words = ("diff", "1298", "1568", "--band", "F200W", "--db", url)
    rows = calreg(*words, "--format", "json").json
    assert {
        "array", "band", "filter", "pupil", "change_mag", "change_err_mag", "status", "photom_1",
        "photom_2", "flat_changed", "area_changed",
    } <= set(rows[0])  # fmt: skip
    assert len(rows) == 8
    result = calreg(*words)
    shown = [line.split()[:6] for line in result.out.splitlines()[2:]]
    assert shown == [
        ["nrca2", "F200W", "FULL", "changed", "+0.0389", "0.00021"],
        ["nrcb2", "F200W", "FULL", "changed", "-0.0099", "0.00022"],
    ]
    assert result.err.splitlines()[-2:] == [
        "2 changed, 0 equal, 6 unknown (6 of which nothing is recorded: --all)",
        "source: notes",
    ]
    assert len(calreg(*words, "--all").out.splitlines()) == 2 + 8
    nothing = calreg("diff", "10", "11", "--db", url)
    assert (nothing.status, nothing.out) == (1, "")


def test_pmap_list_and_withdrawal(calreg: Run, url: str) -> None:
    calreg("pmap", "equal", "1298", "1130", "--reason", REASON, "--db", url)
    again = calreg("pmap", "equal", "1130", "1298", "--reason", REASON, "--db", url)
    assert again.err.endswith(": was known\n")
    listed = calreg("pmap", "list", "--db", url, "--format", "csv").csv
    row = next(row for row in listed if row["pmap"] == "jwst_1130.pmap")
    assert (row["equal_to"], row["n_solutions"]) == (f"jwst_1298.pmap: {REASON}", "2")
    withdrawn = calreg(
        "pmap", "equal", "1130", "1298", "--withdraw", "--reason", "wrong", "--db", url
    )
    assert withdrawn.err == "withdrawn: jwst_1130.pmap = jwst_1298.pmap (wrong)\n"
    failed = calreg("pmap", "equal", "1130", "1298", "--withdraw", "--reason", "x", "--db", url)
    assert failed.status == 1
    assert "are not declared equal" in failed.err


def test_history_draws(calreg: Run, url: str, tmp_path: Path) -> None:
    calreg("pmap", "equal", "1130", "1298", "--reason", REASON, "--db", url)
    figure = tmp_path / "history.png"
    words = ("history", "--band", "F200W", "--array", "2", "--db", url, "--plot", str(figure))
    result = calreg(*words)
    assert result.status == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert f"wrote {figure}" in result.err
    assert "-0.0527 +- 0.0012 Ma et al." in result.out
    again = calreg(*words)
    assert again.status == 1
    assert "--overwrite" in again.err
    assert calreg(*words, "--overwrite").status == 0
    rows = calreg(*words[:-2], "--format", "json").json
    assert [row["predicted_offset_ab_mag"] is None for row in rows] == [True, False, False]
    assert rows[0]["external"] == [
        {"source": "Ma et al.", "offset_ab_mag": -0.0527, "offset_ab_err_mag": 0.0012}
    ]


def test_refit_counts_what_agrees_and_names_what_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def row(sigma: float, *candidates: str) -> PredictionResidual:
        return PredictionResidual(
            pmap="jwst_1130.pmap",
            band="F444W",
            array_id="long",
            field="JWIDF",
            set_id="a",
            from_pmap="jwst_1039.pmap",
            offset_ab_mag=0.01 + 0.001 * sigma,
            predicted_offset_ab_mag=0.01,
            residual_mag=0.001 * sigma,
            residual_err_mag=0.001,
            residual_sigma=sigma,
            is_significant=abs(sigma) > 3.0,
            candidates=candidates,
            basis="set a",
        )

    _tell_residuals([row(0.5), row(-4.0, "flat of nrcalong changed: a -> b")])
    agree, warning = capsys.readouterr().err.splitlines()
    assert agree == "predictions from other contexts: 1 of 2 new sets agree within 3 sigma"
    assert warning == (
        "warning: JWIDF jwst_1130.pmap F444W array long: measured +0.00600, predicted from "
        "jwst_1039.pmap +0.01000 mag (-4.0 sigma): something other than photom changed: "
        "flat of nrcalong changed: a -> b"
    )


def test_ingest_says_when_its_context_was_not_used(
    calreg: Run, db_url: str, tmp_path: Path
) -> None:
    table = tmp_path / "history.csv"
    table.write_text(
        "pmap,detector,filter,pupil,photmjsr\njwst_1298.pmap,NRCA1,F200W,CLEAR,1.964\n"
    )
    told = calreg("ingest", table, "--pmap", "1130", "--db", db_url)
    assert told.status == 0
    assert "history.csv: 1 PHOTMJSR under jwst_1298.pmap (1 new)" in told.err
    assert "note: --pmap was not used" in told.err
    photom = write_photom(tmp_path / "p.fits", "nrca1", [("F200W", "CLEAR", "FULL", 1.964)])
    used = calreg("ingest", photom, "--pmap", "1130", "--db", db_url)
    assert "p.fits: 1 PHOTMJSR, 1 reference files under jwst_1130.pmap (2 new)" in used.err
    assert "not used" not in used.err
