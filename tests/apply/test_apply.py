"""Exposures corrected with the sets of a registry, restored, and recorded, on both engines."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.io import fits

from calreg import Registry
from calreg.apply.check import CorrectionState, ProblemKind
from calreg.apply.files import Action, CorrectedFile
from calreg.apply.options import ApplyOptions
from calreg.db.engine import open_database
from calreg.db.schema import ApplicationRow, CoefficientSetRow, ZeroPointRow
from calreg.domain import Pmap, SetQuery
from calreg.errors import FilesRefusedError, InvalidValueError, OutputError
from calreg.files.fits.headers import read_headers
from calreg.files.images.calibration import read_record
from calreg.instruments import load_instrument
from calreg.science.model.gradient import GradientDatum
from calreg.sets.corrections import CorrectionQuery, load_corrections
from support.contextrows import ContextRows
from support.correctedfiles import (
    CORNER,
    SCALED,
    expected_factor,
    pixels_of,
    raw_headers,
    ulps,
    write_exposure,
)
from support.programmes import PMAP

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.sets.corrections import SetCorrection

IN_PLACE = ApplyOptions(is_in_place=True)
HALF_ULP = 2.0**-24
NEXT_PMAP = "jwst_1140.pmap"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def long_exposure(path: Path, module: str = "A", **primary: str) -> Path:
    """Write an exposure of a long-wavelength array, whose set has a gradient."""
    cards = {"DETECTOR": f"NRC{module}LONG", "FILTER": "F444W", "CRDS_CTX": PMAP, **primary}
    return write_exposure(path, primary=dict(cards))


def short_exposure(path: Path, module: str = "A", **primary: str) -> Path:
    """Write an exposure of a short-wavelength array, whose set has none."""
    cards = {"DETECTOR": f"NRC{module}1", "FILTER": "F200W", "CRDS_CTX": PMAP, **primary}
    return write_exposure(path, primary=dict(cards))


def corrections(
    url: str, datum: GradientDatum = GradientDatum.SYMMETRIC
) -> dict[tuple[str, str], SetCorrection]:
    """Return the registry's corrections by band and array id."""
    query = CorrectionQuery(SetQuery(pmap=Pmap.parse(PMAP)), datum)
    with open_database(url, read_only=True) as database, database.read() as connection:
        found = load_corrections(connection, query, load_instrument())
    return {(one.stored.band, one.stored.array_id): one for one in found}


def rows(url: str) -> list[sa.Row[tuple[object, ...]]]:
    """Return the recorded applications."""
    table = ApplicationRow.__table__
    with open_database(url, read_only=True) as database, database.read() as connection:
        return list(connection.execute(sa.select(table).order_by(table.c.id)))


def apply(url: str, *paths: Path, options: ApplyOptions = IN_PLACE) -> list[CorrectedFile]:
    with Registry(url) as registry:
        return registry.apply(paths, options)


def undo(url: str, *paths: Path) -> list[CorrectedFile]:
    with Registry(url) as registry:
        return registry.undo(paths)


def refusals(url: str, *paths: Path, options: ApplyOptions = IN_PLACE) -> tuple[str, ...]:
    """Return the lines of a call that must refuse all files, and leave them as they are."""
    before = [path.read_bytes() for path in paths]
    n_rows = len(rows(url))
    with pytest.raises(FilesRefusedError, match="nothing was written") as caught:
        apply(url, *paths, options=options)
    assert [path.read_bytes() for path in paths] == before
    assert len(rows(url)) == n_rows
    assert all("\n" not in line for line in caught.value.refusals)
    return caught.value.refusals


# --- apply ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("datum", list(GradientDatum))
@pytest.mark.parametrize("module", ["A", "B"])
def test_an_exposure_gets_the_correction_of_its_array(
    small_url: str, tmp_path: Path, module: str, datum: GradientDatum
) -> None:
    path = long_exposure(tmp_path / "a_cal.fits", module)
    before = pixels_of(path)
    digest = sha256(path)
    options = ApplyOptions(is_in_place=True, gradient_datum=datum)
    (outcome,) = apply(small_url, path, options=options)
    found = corrections(small_url, datum)["F444W", "long"]
    record = read_record(read_headers(path))
    assert record is not None
    own = found.corrections[module]
    assert (record.set_id, record.datum, record.gradient_datum) == (found.stored.set_id, "B", datum)
    assert record.photom_factor == own.photom_factor
    assert record.gradient == own.gradient
    # The delta flat that is exported for the array, cut out at SUBSTRT.
    flat = own.delta_flat()[0]
    y0, x0 = CORNER[1] - 1, CORNER[0] - 1
    ny, nx = before["SCI"].shape
    factor = own.photom_factor / flat[y0 : y0 + ny, x0 : x0 + nx]
    np.testing.assert_allclose(factor, expected_factor(record), rtol=1e-12)
    after = pixels_of(path)
    for name, power in SCALED.items():
        np.testing.assert_allclose(
            after[name], before[name].astype(np.float64) * factor**power, rtol=1.01 * HALF_ULP
        )
    if module == "A":
        assert abs(np.log10(factor).mean()) > 1e-4  # not the identity
        # Too faint an array is brightened.
        assert (own.photom_factor > 1.0) == (found.offset_ab_mag > 0.0) or found.has_gradient
    assert outcome.action is Action.CORRECTED
    assert (outcome.array, outcome.band) == (f"nrc{module.lower()}long", "F444W")
    assert (outcome.sha256_before, outcome.sha256_after) == (digest, sha256(path))
    (row,) = rows(small_url)
    assert (row.kind, row.origin, row.set_id) == ("apply", "measured", found.stored.set_id)
    assert (row.set_pk, row.application_id) == (found.stored.pk, record.application_id)
    assert (row.sha256_before, row.sha256_after) == (digest, sha256(path))
    assert (row.directory, row.file_name) == (str(tmp_path), "a_cal.fits")


def test_the_sign_of_an_offset(small_url: str, tmp_path: Path) -> None:
    """m_A - m_B > 0: module A reads too faint, so its pixels and PHOTMJSR grow; B is the datum."""
    with Registry(small_url) as registry:
        (row,) = registry.coefficients(band="F200W", array_id="1")
    paths = [short_exposure(tmp_path / f"{module}_cal.fits", module) for module in "AB"]
    before = [pixels_of(path)["SCI"] for path in paths]
    apply(small_url, *paths)
    ratios = [
        float(np.nanmedian(pixels_of(path)["SCI"] / old))
        for path, old in zip(paths, before, strict=True)
    ]
    assert abs(row.offset_ab_mag) > 0.001
    assert ratios[0] == pytest.approx(10.0 ** (0.4 * row.offset_ab_mag), rel=1e-6)
    assert ratios[1] == 1.0
    assert fits.getval(paths[0], "PHOTMJSR", "SCI") / 2.333 == pytest.approx(ratios[0], rel=1e-6)
    assert fits.getval(paths[1], "PHOTMJSR", "SCI") == 2.333
    assert fits.getval(paths[1], "CALREGID") == row.set_id


def test_files_are_left_alone_with_another_folder(small_url: str, tmp_path: Path) -> None:
    path = short_exposure(tmp_path / "a_cal.fits")
    content = path.read_bytes()
    out = tmp_path / "new" / "folder"
    (outcome,) = apply(small_url, path, options=ApplyOptions(out=out))
    assert path.read_bytes() == content
    assert outcome.target == out / "a_cal.fits"
    assert sha256(outcome.target) == outcome.sha256_after
    assert [entry.name for entry in out.iterdir()] == ["a_cal.fits"]
    assert "exists: take it away" in self_line(
        refusals(small_url, path, options=ApplyOptions(out=out))
    )


def self_line(lines: tuple[str, ...]) -> str:
    """Return the only line."""
    (line,) = lines
    return line


def test_where_to_write_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"--out DIR.*or --in-place"):
        ApplyOptions()
    with pytest.raises(InvalidValueError, match=r"--out DIR.*or --in-place"):
        ApplyOptions(out=tmp_path, is_in_place=True)


def test_a_second_correction_is_refused(small_url: str, tmp_path: Path) -> None:
    path = short_exposure(tmp_path / "a_cal.fits")
    other = short_exposure(tmp_path / "b_cal.fits")
    apply(small_url, path)
    line = self_line(refusals(small_url, path))
    assert "was corrected with set" in line
    assert "--replace" in line
    # All files are looked at before any is written.
    content = other.read_bytes()
    with pytest.raises(FilesRefusedError):
        apply(small_url, other, path)
    assert other.read_bytes() == content
    assert len(rows(small_url)) == 1


def test_replace_takes_the_first_correction_back(small_url: str, tmp_path: Path) -> None:
    path = long_exposure(tmp_path / "a_cal.fits")
    fresh = long_exposure(tmp_path / "b_cal.fits")
    apply(small_url, path)
    again = ApplyOptions(is_in_place=True, replaces=True, gradient_datum=GradientDatum.B)
    (outcome,) = apply(small_url, path, options=again)
    assert outcome.action is Action.REPLACED
    apply(small_url, fresh, options=again)
    first, second = pixels_of(path), pixels_of(fresh)
    for name in SCALED:
        finite = np.isfinite(second[name])
        assert ulps(first[name][finite], second[name][finite]) <= 2
    assert [row.kind for row in rows(small_url)] == ["apply", "undo", "apply", "apply"]
    former, undone, latest, _ = rows(small_url)
    assert former.application_id == undone.application_id != latest.application_id
    assert former.sha256_after == undone.sha256_before
    assert undone.sha256_after == latest.sha256_before
    assert latest.sha256_after == sha256(path)


def test_one_file_given_twice_is_refused(small_url: str, tmp_path: Path) -> None:
    path = short_exposure(tmp_path / "a_cal.fits")
    link = tmp_path / "link_cal.fits"
    link.symlink_to(path)
    with pytest.raises(FilesRefusedError, match="give each file once"):
        apply(small_url, path, link)
    assert rows(small_url) == []


def test_a_folder_that_cannot_be_made(small_url: str, tmp_path: Path) -> None:
    path = short_exposure(tmp_path / "a_cal.fits")
    with pytest.raises(OutputError, match="cannot make the folder"):
        apply(small_url, path, options=ApplyOptions(out=path / "below"))
    assert rows(small_url) == []


def test_what_fails_midway_is_said_and_recorded(small_url: str, tmp_path: Path) -> None:
    good = short_exposure(tmp_path / "a_cal.fits")
    large = {"VAR_POISSON": np.full((40, 48), 3.4028e38, dtype=np.float32)}
    cards = {"DETECTOR": "NRCA1", "FILTER": "F200W", "CRDS_CTX": PMAP}
    bad = write_exposure(tmp_path / "b_cal.fits", planes=dict(large), primary=dict(cards))
    content = bad.read_bytes()
    found = corrections(small_url)["F200W", "1"].corrections["A"].photom_factor
    assert found > 1.0, "the planted offset makes pixels larger"
    with pytest.raises(OutputError, match="1 files before it are done and recorded"):
        apply(small_url, good, bad)
    assert bad.read_bytes() == content
    (row,) = rows(small_url)
    assert row.sha256_after == sha256(good)


# --- which set ------------------------------------------------------------------------------------


def test_no_set_is_an_error(small_url: str, tmp_path: Path) -> None:
    path = short_exposure(tmp_path / "a_cal.fits", CRDS_CTX=NEXT_PMAP)
    line = self_line(refusals(small_url, path))
    assert f"no coefficient set for {NEXT_PMAP} F200W: there are sets for {PMAP}" in line
    assert "--predict" in line
    unknown = short_exposure(tmp_path / "b_cal.fits", FILTER="F115W")
    assert f"no coefficient set for {PMAP} F115W" in self_line(refusals(small_url, unknown))


def test_the_identity_is_marked_and_recorded(small_url: str, tmp_path: Path) -> None:
    path = short_exposure(tmp_path / "a_cal.fits", CRDS_CTX=NEXT_PMAP)
    before = pixels_of(path)
    options = ApplyOptions(is_in_place=True, allows_identity=True)
    (outcome,) = apply(small_url, path, options=options)
    assert (outcome.origin, outcome.set_id, outcome.photom_factor) == ("identity", "identity", 1.0)
    assert "no coefficient set" in outcome.note
    for name, pixels in pixels_of(path).items():
        np.testing.assert_array_equal(pixels, before[name])
    assert fits.getval(path, "CALREGID") == "identity"
    (row,) = rows(small_url)
    assert (row.origin, row.set_pk) == ("identity", None)
    assert "was corrected" in self_line(refusals(small_url, path, options=options))


def test_another_context_than_asked_for_is_refused(small_url: str, tmp_path: Path) -> None:
    path = short_exposure(tmp_path / "a_cal.fits", CRDS_CTX=NEXT_PMAP)
    options = ApplyOptions(is_in_place=True, pmap=Pmap.parse(PMAP))
    line = self_line(refusals(small_url, path, options=options))
    assert f"CRDS_CTX is {NEXT_PMAP}, expected {PMAP}" in line


def test_a_predicted_correction_is_carried_over_and_marked(small_url: str, tmp_path: Path) -> None:
    """PHOTMJSR of A is 2 % larger under the other context, so that A reads brighter there."""
    with open_database(small_url) as database, database.write() as connection:
        write = ContextRows(connection)
        write.photmjsr(NEXT_PMAP, "nrca1", 1.9639999866485596 * 1.02)
        write.photmjsr(NEXT_PMAP, "nrcb1", photmjsr_of(connection, "nrcb1"))
    path = short_exposure(tmp_path / "a_cal.fits", CRDS_CTX=NEXT_PMAP)
    assert "--predict" in self_line(refusals(small_url, path))
    options = ApplyOptions(is_in_place=True, is_predicted=True)
    (outcome,) = apply(small_url, path, options=options)
    found = corrections(small_url)["F200W", "1"]
    expected = 10.0 ** (0.4 * found.offset_ab_mag) / 1.02
    assert outcome.photom_factor == pytest.approx(expected, rel=1e-6)
    assert (outcome.origin, outcome.set_id) == ("predicted", found.stored.set_id)
    header = fits.getheader(path)
    assert (header["CALREGOR"], header["CALREGCX"]) == ("predicted", PMAP)
    assert any("PREDICTED" in line for line in header["HISTORY"])
    assert rows(small_url)[0].origin == "predicted"


def photmjsr_of(connection: sa.Connection, array: str) -> float:
    """Return the PHOTMJSR that the simulated programme has for an array in F200W."""
    statement = sa.select(ZeroPointRow.photmjsr).where(
        ZeroPointRow.array == array, ZeroPointRow.band == "F200W"
    )
    return connection.scalars(statement).one()


def test_a_prediction_without_zero_points_is_refused(small_url: str, tmp_path: Path) -> None:
    path = short_exposure(tmp_path / "a_cal.fits", CRDS_CTX=NEXT_PMAP)
    options = ApplyOptions(is_in_place=True, is_predicted=True)
    line = self_line(refusals(small_url, path, options=options))
    assert "is unknown: PHOTMJSR of nrca1 F200W under jwst_1140.pmap is not recorded" in line


def test_another_photmjsr_than_the_contexts_is_noted(small_url: str, tmp_path: Path) -> None:
    """The simulated programme has 1.964, the exposure 2.333."""
    (outcome,) = apply(small_url, short_exposure(tmp_path / "a_cal.fits", SUBARRAY="FULL"))
    assert "PHOTMJSR is 2.333, but the registry has 1.964" in outcome.note
    path = write_exposure(
        tmp_path / "b_cal.fits",
        primary={"DETECTOR": "NRCA1", "FILTER": "F200W", "SUBARRAY": "FULL"},
        science={"PHOTMJSR": 1.964},
    )
    (outcome,) = apply(small_url, path)
    assert outcome.note == ""


# --- undo -----------------------------------------------------------------------------------------


def test_undo_restores_and_records(small_url: str, tmp_path: Path) -> None:
    paths = [long_exposure(tmp_path / "a_cal.fits"), short_exposure(tmp_path / "b_cal.fits")]
    before = [(pixels_of(path), raw_headers(path)) for path in paths]
    apply(small_url, *paths)
    outcomes = undo(small_url, *paths)
    assert [outcome.action for outcome in outcomes] == [Action.RESTORED] * 2
    for path, (pixels, headers) in zip(paths, before, strict=True):
        assert raw_headers(path) == headers
        for name, old in pixels.items():
            finite = np.isfinite(old)
            assert ulps(pixels_of(path)[name][finite], old[finite]) <= 1
    assert [row.kind for row in rows(small_url)] == ["apply", "apply", "undo", "undo"]
    applied, _, undone, _ = rows(small_url)
    assert applied.application_id == undone.application_id
    assert applied.sha256_after == undone.sha256_before
    assert undone.sha256_after == sha256(paths[0])
    with pytest.raises(FilesRefusedError, match="there is nothing to undo"):
        undo(small_url, paths[0])


def test_undo_needs_no_registry_and_no_set(small_url: str, db_url: str, tmp_path: Path) -> None:
    path = long_exposure(tmp_path / "a_cal.fits")
    headers = raw_headers(path)
    apply(small_url, path)
    copy = tmp_path / "copy_cal.fits"
    copy.write_bytes(path.read_bytes())
    undo(db_url, path)  # a registry that has never seen the set
    assert raw_headers(path) == headers
    (row,) = rows(db_url)
    assert (row.kind, row.set_pk) == ("undo", None)
    with Registry(small_url) as registry:
        outcome = registry.undo(copy, out=tmp_path / "out")[0]
    assert raw_headers(outcome.target) == headers
    assert read_record(read_headers(copy)) is not None


# --- a call that was killed before it recorded -------------------------------------------------


def forget(url: str, kind: str) -> None:
    """Take away what a call has recorded, as if it had been killed just before."""
    with open_database(url) as database, database.write() as connection:
        connection.execute(sa.delete(ApplicationRow).where(ApplicationRow.kind == kind))


def test_apply_again_records_what_a_killed_call_wrote(small_url: str, tmp_path: Path) -> None:
    paths = [short_exposure(tmp_path / "a_cal.fits"), short_exposure(tmp_path / "b_cal.fits")]
    digest = sha256(paths[0])
    apply(small_url, paths[0])
    content = paths[0].read_bytes()
    forget(small_url, "apply")
    first, second = apply(small_url, *paths)
    assert (first.action, second.action) == (Action.RECORDED, Action.CORRECTED)
    assert paths[0].read_bytes() == content
    row = rows(small_url)[0]
    assert (row.sha256_before, row.sha256_after) == (digest, sha256(paths[0]))
    assert row.application_id == fits.getval(paths[0], "CALREGAP")
    # What is recorded now is a second correction like any other.
    assert len(refusals(small_url, *paths)) == 2


def test_the_same_with_another_folder(small_url: str, tmp_path: Path) -> None:
    path = short_exposure(tmp_path / "a_cal.fits")
    options = ApplyOptions(out=tmp_path / "out")
    (outcome,) = apply(small_url, path, options=options)
    forget(small_url, "apply")
    (again,) = apply(small_url, path, options=options)
    assert again.action is Action.RECORDED
    assert again.sha256_after == outcome.sha256_after
    forget(small_url, "apply")
    # Another file of that name is not taken for it.
    other = tmp_path / "other" / "a_cal.fits"
    other.parent.mkdir()
    write_exposure(other, primary={"DETECTOR": "NRCA1", "FILTER": "F200W", "VISIT": "002"})
    assert "exists: take it away" in self_line(refusals(small_url, other, options=options))


def test_another_correction_is_not_taken_for_the_killed_one(small_url: str, tmp_path: Path) -> None:
    path = long_exposure(tmp_path / "a_cal.fits")
    apply(small_url, path)
    forget(small_url, "apply")
    options = ApplyOptions(is_in_place=True, gradient_datum=GradientDatum.B)
    assert "was corrected with set" in self_line(refusals(small_url, path, options=options))


def test_undo_again_records_what_a_killed_call_restored(small_url: str, tmp_path: Path) -> None:
    path = short_exposure(tmp_path / "a_cal.fits")
    apply(small_url, path)
    undo(small_url, path)
    forget(small_url, "undo")
    (outcome,) = undo(small_url, path)
    assert outcome.action is Action.RECORDED
    assert [row.kind for row in rows(small_url)] == ["apply", "undo"]
    assert rows(small_url)[1].sha256_after == sha256(path)


# --- and check ------------------------------------------------------------------------------------


def test_check_sees_corrections(small_url: str, tmp_path: Path) -> None:
    paths = [
        write_exposure(
            tmp_path / f"{name}_cal.fits",
            primary={"DETECTOR": "NRCA1", "FILTER": "F200W", "SUBARRAY": "FULL"},
            science={"PHOTMJSR": 1.964},
        )
        for name in "ab"
    ]
    with Registry(small_url) as registry:
        registry.apply(paths, IN_PLACE)
        report = registry.check_files(paths)
        assert report.problems == []
        assert [row.correction for row in report.rows] == [CorrectionState.APPLIED]
        registry.undo(paths[0])
        kinds = {problem.kind for problem in registry.check_files(paths).problems}
        # One corrected and one not: PHOTMJSR is mixed.
        assert kinds == {ProblemKind.MIXED_PHOTMJSR, ProblemKind.NOT_CORRECTED}
    with open_database(small_url) as database, database.write() as connection:
        statement = sa.update(CoefficientSetRow).where(CoefficientSetRow.band == "F200W")
        connection.execute(statement.values(set_id=CoefficientSetRow.set_id + "x"))
    with Registry(small_url) as registry:
        report = registry.check_files(paths[1])
    assert [problem.kind for problem in report.problems] == [ProblemKind.OUTDATED]
    assert "--replace" in report.problems[0].message


def test_corrected_exposures_are_not_measured(small_url: str, db_url: str, tmp_path: Path) -> None:
    """Their offsets, and their PHOTMJSR, are not the context's."""
    path = short_exposure(tmp_path / "a_cal.fits")
    apply(small_url, path)
    with Registry(db_url) as registry:
        report = registry.ingest(path)
        assert [refused.path for refused in report.refused] == [path]
        assert "was corrected by calreg with set" in str(report.refused[0])
        registry.undo(path)
        assert len(registry.ingest(path).loaded) == 1


def test_an_ingested_exposure_that_was_corrected_is_no_damage(
    small_url: str, tmp_path: Path
) -> None:
    """`calreg db check` knows why its headers changed; other changes are still problems."""
    path = short_exposure(tmp_path / "a_cal.fits")
    with Registry(small_url) as registry:
        assert len(registry.ingest(path).loaded) == 1
        assert registry.check() == []
        registry.apply(path, IN_PLACE)
        assert registry.check() == []
        registry.undo(path)
        assert registry.check() == []
        fits.setval(path, "TITLE", value="another")
        (problem,) = registry.check()
        assert "headers changed" in problem.message
