"""The offsets of others: into our sign, to a datum, kept as given, compared."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.health import check_database
from calreg.db.schema import Base, ExternalSolutionRow, ExternalValueRow, IngestRow
from calreg.errors import ConflictError, FileFormatError, InvalidValueError, UnknownKeyError
from support.externaltables import CSV, DIVISORS, MULTIPLIERS, write
from support.setrows import EARLY, SetRows

if TYPE_CHECKING:
    from pathlib import Path

SKY: dict[str, Any] = {"source": "DJA sky levels", "sense": "multiply", "method": "sky"}
STAR: dict[str, Any] = {"source": "star ratios", "sense": "divide", "method": "star"}
PAPER = "Ma et al. 2024"


def stored(url: str, row_class: type[Base]) -> list[Any]:
    statement = sa.select(row_class.__table__).order_by(row_class.__table__.c.id)
    with open_database(url, read_only=True) as database, database.read() as connection:
        return list(connection.execute(statement))


# --- signs and datums -----------------------------------------------------------------------------


def test_multipliers_above_one_say_that_the_array_is_faint(db_url: str, tmp_path: Path) -> None:
    with Registry(db_url) as registry:
        report = registry.import_grizli(write(tmp_path / "z.yml", MULTIPLIERS), **SKY)
    assert (report.n_solutions, report.n_values, report.is_new) == (3, 9, True)
    assert report.pmaps == ["jwst_1293.pmap"]
    assert sum(report.left_out.values()) == 2 + 1 + 1 + 1
    values = {(row.array, row.band): row for row in stored(db_url, ExternalValueRow)}
    a1 = values["nrca1", "F200W"]
    # Flux x 1.0328: 2.5 log10(1.0328) = 0.035041 mag too faint; error 1.0857 x 0.0018 / 1.0328.
    assert a1.offset_mag == pytest.approx(0.035041, abs=1e-6)
    assert a1.offset_err_mag == pytest.approx(0.0018923, abs=1e-7)
    assert (a1.value_given, a1.err_given, a1.unit_given) == (1.0328, 0.0018, "factor")
    assert (a1.sense, a1.method, a1.line) == ("multiply", "sky", 5)
    assert "std_err = 0.0018" in a1.text_given
    b1 = values["nrcb1", "F200W"]
    assert (b1.state, b1.offset_mag, b1.offset_err_mag) == ("datum", 0.0, 0.0)
    found = {(row.array_id, row.band): row for row in stored(db_url, ExternalSolutionRow)}
    assert set(found) == {("1", "F200W"), ("2", "F200W"), ("long", "F470N")}
    two = found["2", "F200W"]
    assert two.offset_ab_mag == pytest.approx(2.5 * math.log10(0.9937 / 1.0603), abs=1e-12)
    assert two.offset_ab_err_mag == pytest.approx(
        1.0857362 * math.hypot(0.0017 / 0.9937, 0.0012 / 1.0603), rel=1e-6
    )
    assert (two.datum, two.offset_a_mag, two.offset_b_mag) == ("B", two.offset_ab_mag, 0.0)
    assert two.pixar_ab_mag == pytest.approx(-2.5 * math.log10(2.23 / 2.29), abs=1e-12)
    assert [given["array"] for given in json.loads(two.as_given)] == ["nrca2", "nrcb2"]


def test_divisors_have_the_other_sign(db_url: str, tmp_path: Path) -> None:
    path = write(tmp_path / "p.yml", DIVISORS)
    with Registry(db_url) as registry:
        report = registry.import_grizli(path, **STAR)
        assert (report.n_solutions, report.n_values) == (1, 2)
        (row,) = registry.compare()
        # A reads 6 % too bright.
        assert row.their_offset_ab_mag == pytest.approx(-2.5 * math.log10(1.0618), abs=1e-12)
        assert row.their_offset_ab_err_mag is None
        with pytest.raises(InvalidValueError, match=r"the file says '.*\*divide\*.*--sense divide"):
            registry.import_grizli(path, **(STAR | {"source": "wrong", "sense": "multiply"}))
        registry.import_grizli(path, **(STAR | {"source": "old"}), pmap="0942", with_commented=True)
        (row,) = registry.compare(source="old")
        assert (row.pmap, row.array_id) == ("jwst_0942.pmap", "1")
        assert row.their_offset_ab_mag == pytest.approx(-2.5 * math.log10(1.1555 / 1.1453))


@pytest.mark.parametrize("sense", ["multiply", "divide"])
def test_csv_in_both_senses_and_all_datums(db_url: str, tmp_path: Path, sense: str) -> None:
    sign = {"multiply": 1.0, "divide": -1.0}[sense]
    path = write(tmp_path / "t.csv", CSV)
    expected = {
        "B": (0.030 * sign, 0.0),
        "A": (0.0, -0.030 * sign),
        "given": (0.020 * sign, -0.010 * sign),
    }
    with Registry(db_url) as registry:
        for datum in expected:
            report = registry.import_csv(
                path, source=datum, sense=sense, method="star", datum=datum
            )
            assert (report.n_solutions, report.n_values) == (2, 2)
    for row in stored(db_url, ExternalSolutionRow):
        if row.array_id == "1":
            assert (row.offset_a_mag, row.offset_b_mag) == pytest.approx(
                expected[row.datum], abs=1e-15
            )
            assert row.offset_ab_mag == pytest.approx(0.030 * sign, abs=1e-15)
            assert row.offset_ab_err_mag == pytest.approx(math.hypot(0.001, 0.002))
        else:
            assert (row.offset_ab_mag, row.offset_ab_err_mag) == (-0.016 * sign, None)


def test_words_that_no_table_says_have_to_be_said(db_url: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", CSV)
    with Registry(db_url) as registry:
        for change, match in (
            ({"sense": "add"}, "sense 'add': expected one of multiply, divide"),
            ({"method": "psf"}, "method 'psf': expected one of star, sky"),
            ({"datum": "C"}, "datum 'C': expected one of B, A, given"),
            ({"source": " "}, "--source"),
        ):
            with pytest.raises(InvalidValueError, match=match):
                registry.import_csv(path, **(STAR | change))
        with pytest.raises(FileFormatError, match=r"no entries to import: .*9 of another context"):
            registry.import_grizli(write(tmp_path / "z.yml", MULTIPLIERS), **SKY, pmap="1130")
        assert registry.stats().n_rows["ingests"] == 0


# --- again, and otherwise -------------------------------------------------------------------------


def test_the_same_numbers_again_change_nothing(db_url: str, tmp_path: Path) -> None:
    path = write(tmp_path / "z.yml", MULTIPLIERS)
    again = write(tmp_path / "renamed.yml", MULTIPLIERS + "# one more comment\n")
    more = write(
        tmp_path / "more.yml",
        MULTIPLIERS + "NRCB3-F200W-CLEAR: [1.958, 1.0263, 2.25e-14]  # jwst_1293.pmap\n",
    )
    with Registry(db_url) as registry:
        assert registry.import_grizli(path, **SKY).is_new
        before = registry.stats().n_rows
        for same in (path, again):
            assert not registry.import_grizli(same, **SKY).is_new
        assert registry.stats().n_rows == before
        # A table that grew brings what is new: the partner of nrca3.
        assert registry.import_grizli(more, **SKY).is_new
        after = registry.stats().n_rows
    assert after["external_values"] == before["external_values"] + 1
    assert after["external_solutions"] == before["external_solutions"] + 1


def test_other_numbers_from_the_same_source_are_a_conflict(db_url: str, tmp_path: Path) -> None:
    path = write(tmp_path / "z.yml", MULTIPLIERS)
    other = write(tmp_path / "other.yml", MULTIPLIERS.replace("0.9937", "0.9938"))
    with Registry(db_url) as registry:
        registry.import_grizli(path, **SKY)
        registry.import_csv(write(tmp_path / "t.csv", CSV), **STAR)
        before = registry.stats().n_rows
        with pytest.raises(ConflictError, match=r"other\.yml: line 7: .*nrca2 F200W under"):
            registry.import_grizli(other, **SKY)
        with pytest.raises(ConflictError, match=r"check --sense"):
            registry.import_grizli(path, **(SKY | {"sense": "divide"}))
        with pytest.raises(ConflictError, match=r"\(sky, datum B\), now .*\(star, datum B\)"):
            registry.import_grizli(path, **(SKY | {"method": "star"}))
        difference = write(tmp_path / "d.csv", CSV.replace("-0.016", "-0.017"))
        with pytest.raises(ConflictError, match=r"d\.csv: .*already has F444W array long"):
            registry.import_csv(difference, **STAR)
        assert registry.stats().n_rows == before
    with open_database(db_url) as database, database.read() as connection:
        assert check_database(connection) == []


# --- comparison -----------------------------------------------------------------------------------


@pytest.fixture
def compared(db_url: str, tmp_path: Path) -> str:
    """Fill a registry with a set, and three external solutions of two contexts."""
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        rows.add_set(1130, offset_mag=0.012, band="F200W", filter="F200W")
        for pmap in (1130, 1293):
            rows.add_zero_points(pmap, 1.964 if pmap == 1293 else 2.0, 2.056, band="F200W")
    stars = "pmap,band,array,offset,error\n1130,F200W,1,0.009,0.0\n1130,F200W,2,-0.050,0.001\n"
    with Registry(db_url) as registry:
        registry.import_csv(
            write(tmp_path / "s.csv", stars), source="stars", sense="multiply", method="star"
        )
        registry.import_grizli(write(tmp_path / "z.yml", MULTIPLIERS), **SKY, pmap="1293")
    return db_url


def test_ours_against_theirs_with_a_floor(compared: str) -> None:
    with Registry(compared, read_only=True) as registry:
        one, two = registry.compare(source="stars")
        assert one.difference_mag == pytest.approx(0.003, abs=1e-15)
        assert one.difference_sigma == pytest.approx(3.0)
        assert one.floor_mag == 0.010
        assert one.difference_floor_sigma == pytest.approx(0.003 / math.hypot(0.001, 0.010))
        assert (one.against, one.against_pmap, one.has_same_sign) == (
            "registry",
            "jwst_1130.pmap",
            True,
        )
        assert one.note == ""
        assert (two.offset_ab_mag, two.difference_floor_sigma, two.against_pmap) == (None,) * 3
        (formal, _) = registry.compare(source="stars", floor_mag=0.0)
        assert formal.difference_floor_sigma == formal.difference_sigma
        for floor_mag in (-0.001, math.nan):
            with pytest.raises(InvalidValueError, match="floor is"):
                registry.compare(floor_mag=floor_mag)


def test_theirs_against_theirs_across_contexts(compared: str) -> None:
    with Registry(compared, read_only=True) as registry:
        assert registry.compare(source="DJA sky levels", against="stars") == []
        rows = registry.compare(source="DJA sky levels", against="stars", is_across=True)
        assert [(row.band, row.array_id) for row in rows] == [("F200W", "1"), ("F200W", "2")]
        one, two = rows
        assert (one.pmap, one.against_pmap) == ("jwst_1293.pmap", "jwst_1130.pmap")
        # The counterpart minus theirs.
        assert one.difference_mag == pytest.approx(0.009 - 2.5 * math.log10(1.0328), abs=1e-12)
        # A went from 2.0 to 1.964: fainter by 19.7 mmag. It is said, not taken out.
        assert one.photom_change_ab_mag == pytest.approx(2.5 * math.log10(2.0 / 1.964), abs=1e-12)
        assert "against jwst_1130.pmap: change of PHOTMJSR A - B since +0.0197 mag" in one.note
        assert two.photom_change_ab_mag is None
        assert "change of PHOTMJSR A - B since unknown" in two.note
        # Sky levels against stars: PIXAR_SR of B2 is 2.7 % larger.
        assert two.pixar_ab_mag == pytest.approx(0.0288, abs=1e-4)
        assert "sky levels against stars, PIXAR_SR term +0.0288 mag" in two.note
        backwards = registry.compare(source="stars", against="DJA sky levels", is_across=True)
        assert [row.difference_mag for row in backwards] == [-row.difference_mag for row in rows]  # type: ignore[operator]
        assert [row.pixar_ab_mag for row in backwards] == [row.pixar_ab_mag for row in rows]


def test_what_cannot_be_compared(compared: str) -> None:
    with Registry(compared, read_only=True) as registry:
        with pytest.raises(UnknownKeyError, match=r"no external solution 'x': .*'stars'"):
            registry.compare(source="x")
        with pytest.raises(UnknownKeyError, match=r"no external solution 'y'"):
            registry.compare(against="y")
        with pytest.raises(InvalidValueError, match="compared with itself"):
            registry.compare(source="stars", against="stars")


def test_summaries_say_how_they_weigh(compared: str) -> None:
    with Registry(compared, read_only=True) as registry:
        rows = registry.compare(source="DJA sky levels", against="stars", is_across=True)
        band, total = registry.summarise(rows)
    assert (band.band, total.band, total.n_keys) == ("F200W", "all", 2)
    assert (total.n_same_sign, total.n_signed) == (2, 2)
    first, second = (row.difference_mag or 0.0 for row in rows)
    assert total.rms_mag == pytest.approx(math.sqrt((first**2 + second**2) / 2.0))
    assert total.mean_mag == pytest.approx((first + second) / 2.0)
    variances = [
        (row.their_offset_ab_err_mag or 0.0) ** 2 + (row.offset_ab_err_mag or 0.0) ** 2 + 0.01**2
        for row in rows
    ]
    chi2 = first**2 / variances[0] + second**2 / variances[1]
    weights = 1.0 / variances[0] + 1.0 / variances[1]
    assert total.reduced_chi2 == pytest.approx(chi2 / 2.0)
    assert total.weighted_rms_mag == pytest.approx(math.sqrt(chi2 / weights))
    assert total.max_abs_mag == max(abs(first), abs(second))


def test_interpolated_numbers_are_shown_and_do_not_count(db_url: str, tmp_path: Path) -> None:
    csv = write(tmp_path / "t.csv", "pmap,band,array,offset\n1293,F187N,1,0.03\n")
    with Registry(db_url) as registry:
        registry.import_grizli(write(tmp_path / "z.yml", MULTIPLIERS), **SKY, pmap="1293")
        registry.import_csv(csv, **(STAR | {"sense": "multiply"}))
        (row,) = registry.compare(source="star ratios", against="DJA sky levels")
        assert row.state == "interpolated"
        assert "interpolated, not measured; an error is not stated" in row.note
        assert registry.summarise([row]) == []


def test_comparisons_as_of_a_time(compared: str) -> None:
    with Registry(compared, read_only=True) as registry:
        assert registry.compare(as_of_utc=EARLY) == []
        started = max(row.started_utc for row in stored(compared, IngestRow))
        assert len(registry.compare(as_of_utc=started)) == len(registry.compare()) == 6


# --- the real tables ------------------------------------------------------------------------------


def test_the_paper_against_sky_levels(db_url: str, shared_data: Path) -> None:
    """Ten of ten signs agree, 15.4 mmag rms: as given, neither context nor PIXAR_SR taken out.

    The numbers of the paper are of jwst_1130, those of the sky of jwst_1293, whose factors multiply
    PHOTMJSR. With the PIXAR_SR terms added to the differences it would be 30.1 mmag.
    """
    with Registry(db_url) as registry:
        registry.import_recipe(shared_data / "idf_zpcor_1130_pmap.ecsv", pmap="1130", source=PAPER)
        report = registry.import_grizli(shared_data / "jwst_zeropoints.yml", **SKY, pmap="1293")
        # 8 detectors in 10 measured SW bands, 2 in 10 LW bands; the narrow SW bands interpolated.
        assert report.n_values == 126
        rows = registry.compare(source="DJA sky levels", against=PAPER, is_across=True)
        assert len(rows) == 10
        total = registry.summarise(rows)[-1]
        by_key = {(row.band, row.array_id): row.difference_mag for row in rows}
        with_pixar = [(row.difference_mag or 0.0) + (row.pixar_ab_mag or 0.0) for row in rows]
    assert (total.n_keys, total.n_same_sign, total.n_signed) == (10, 10, 10)
    assert total.rms_mag == pytest.approx(0.01542, abs=5e-6)
    assert total.mean_mag == pytest.approx(0.00415, abs=5e-6)
    assert by_key["F150W", "1"] == pytest.approx(-0.0226, abs=5e-5)
    assert by_key["F444W", "long"] == pytest.approx(0.0227, abs=5e-5)
    assert math.sqrt(math.fsum(d**2 for d in with_pixar) / 10.0) > 0.015


def test_the_old_divisors_come_in_by_their_contexts(db_url: str, shared_data: Path) -> None:
    path = shared_data / "photom_correction.yml"
    with Registry(db_url) as registry:
        with pytest.raises(FileFormatError, match=r"no entries to import: 126 commented out"):
            registry.import_grizli(path, **STAR)
        for pmap, n_solutions in (("0942", 21), ("0989", 16), ("0995", 5)):
            options = STAR | {"source": f"stars of {pmap}"}
            report = registry.import_grizli(path, **options, pmap=pmap, with_commented=True)
            assert report.n_solutions == n_solutions, pmap
        row = next(row for row in registry.compare(band="F277W") if row.pmap == "jwst_0995.pmap")
    assert row.their_offset_ab_mag == pytest.approx(-2.5 * math.log10(1.0618), abs=1e-12)
