"""One PHOTMJSR per context and key from many sources, or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calreg.contexts.zeropoints import (
    KnownZeroPoint,
    ZeroPointKey,
    ZeroPoints,
)
from calreg.domain import Pmap, ReferenceKind, Status
from support.contextrows import ContextRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from calreg.db.engine import Database

    Book = Callable[[Callable[[ContextRows], None]], ZeroPoints]

A1 = ZeroPointKey("nrca1", "F200W", "CLEAR")
SUB160 = A1._replace(subarray="SUB160")


@pytest.fixture
def book(database: Database) -> Callable[[Callable[[ContextRows], None]], ZeroPoints]:
    """Return a function that writes rows and reads them back."""

    def make(write: Callable[[ContextRows], None]) -> ZeroPoints:
        with database.write() as connection:
            write(ContextRows(connection))
        with database.read() as connection:
            return ZeroPoints.load(connection)

    return make


def value(known: KnownZeroPoint) -> float | None:
    return None if known.photmjsr is None else known.photmjsr.value


def test_the_most_precise_of_agreeing_sources_counts(book: Book) -> None:
    def write(rows: ContextRows) -> None:
        published = {"kind": "published", "source": "a paper"}
        rows.photmjsr("1298", "nrca1", 2.33, photmjsr_half_width=0.005, **published)
        rows.photmjsr("1298", "nrca1", 2.3333, photmjsr_half_width=0.00005, **published)
        rows.photmjsr("1298", "nrca2", 2.33, photmjsr_half_width=0.005, **published)
        rows.photmjsr("1298", "nrca2", 2.34, photmjsr_half_width=0.0005, **published)

    found = book(write)
    known = found.find(Pmap(1298), A1)
    assert (known.status, value(known), known.source) == (Status.OK, 2.3333, "a paper")
    conflict = found.find(Pmap(1298), A1._replace(array="nrca2"))
    assert (conflict.status, conflict.photmjsr) == (Status.CONFLICT, None)
    assert "2.33 (a paper), 2.340 (a paper)" in conflict.reason


def test_a_file_means_the_same_under_every_context(book: Book) -> None:
    def write(rows: ContextRows) -> None:
        rows.photmjsr("1568", "nrca1", 1.927, r_photom="p_0173.fits", kind="published")
        rows.reference("1595", "nrca1", "photom", "p_0173.fits")
        rows.reference("1600", "nrca1", "photom", "p_0190.fits")

    found = book(write)
    known = found.find(Pmap(1595), A1)
    assert (value(known), known.r_photom) == (1.927, "p_0173.fits")
    assert known.via == "p_0173.fits as under jwst_1568.pmap"
    change = found.change(Pmap(1568), Pmap(1595), A1).change
    assert change is not None
    assert (change.mag, change.err_mag) == (0.0, 0.0)
    assert found.find(Pmap(1600), A1).status is Status.UNKNOWN
    assert found.change(Pmap(1568), Pmap(1600), A1).change is None


def test_the_same_file_is_no_change_without_any_value(book: Book) -> None:
    def write(rows: ContextRows) -> None:
        for pmap in ("1298", "1322"):
            rows.reference(pmap, "nrca1", "photom", "p_0155.fits")

    change = book(write).change(Pmap(1298), Pmap(1322), A1)
    assert change.status is Status.OK
    assert change.change is not None
    assert change.change.mag == 0.0
    assert change.via == ("nrca1: p_0155.fits under both contexts",)


def test_equal_contexts_lend_their_values_by_any_chain(book: Book) -> None:
    def write(rows: ContextRows) -> None:
        rows.photmjsr("1298", "nrca1", 1.964)
        rows.equality("1130", "1293", "the one reason")
        rows.equality("1293", "1298", "another reason")

    found = book(write)
    known = found.find(Pmap(1130), A1)
    assert value(known) == 1.964
    assert known.via == (
        "declared equal: jwst_1130.pmap = jwst_1293.pmap (the one reason); "
        "declared equal: jwst_1293.pmap = jwst_1298.pmap (another reason)"
    )
    change = found.change(Pmap(1298), Pmap(1130), A1)
    assert change.change is not None
    assert (change.change.mag, len(change.via)) == (0.0, 1)


def test_what_rests_on_an_equality_says_so(book: Book) -> None:
    def write(rows: ContextRows) -> None:
        rows.reference("1298", "nrca1", "photom", "p_0155.fits")
        rows.reference("1322", "nrca1", "photom", "p_0155.fits")
        rows.photmjsr("1322", "nrca1", 1.964, r_photom="p_0155.fits")
        rows.equality("1130", "1298", "believed")

    found = book(write)
    change = found.change(Pmap(1130), Pmap(1322), A1)
    assert change.change is not None
    assert change.via == (
        "nrca1: p_0155.fits under both contexts",
        "declared equal: jwst_1130.pmap = jwst_1298.pmap (believed)",
    )
    assert found.find(Pmap(1130), A1).via == (
        "p_0155.fits as under jwst_1322.pmap; "
        "declared equal: jwst_1130.pmap = jwst_1298.pmap (believed)"
    )


def test_equal_contexts_with_other_values_are_a_conflict(book: Book) -> None:
    def write(rows: ContextRows) -> None:
        rows.photmjsr("1130", "nrca1", 1.960)
        rows.photmjsr("1298", "nrca1", 1.964)
        rows.equality("1130", "1298", "believed")

    found = book(write)
    assert found.find(Pmap(1130), A1).status is Status.CONFLICT
    assert found.change(Pmap(1130), Pmap(1298), A1).status is Status.CONFLICT


def test_every_subarray_has_its_own_row(book: Book) -> None:
    def write(rows: ContextRows) -> None:
        for pmap, of_subarray in (("1298", 1.964), ("1568", 1.990)):
            rows.photmjsr(pmap, "nrca1", 1.964, kind="table")
            rows.photmjsr(pmap, "nrca1", of_subarray, kind="table", subarray="SUB160")
        rows.photmjsr("1600", "nrca1", 1.95, kind="table", subarray="")

    found = book(write)
    full = found.change(Pmap(1298), Pmap(1568), A1).change
    subarray = found.change(Pmap(1298), Pmap(1568), SUB160).change
    assert full is not None
    assert subarray is not None
    assert full.mag == 0.0
    assert subarray.mag == pytest.approx(-0.014279, abs=1e-6)
    # A table without the column holds for every subarray.
    assert value(found.find(Pmap(1600), SUB160)) == value(found.find(Pmap(1600), A1)) == 1.95
    assert found.find(Pmap(1568), A1._replace(subarray="SUB64P")).status is Status.UNKNOWN


def test_a_table_with_time_coefficients_gives_no_value(book: Book) -> None:
    def write(rows: ContextRows) -> None:
        rows.photmjsr("1298", "nrca1", 1.964, r_photom="p_0155.fits", kind="table")
        for pmap in ("1568", "1595"):
            rows.photmjsr(pmap, "nrca1", 1.9, r_photom="p_0300.fits", kind="timed", source="file")
        rows.photmjsr("1568", "nrca1", 1.903, r_photom="p_0300.fits")

    found = book(write)
    known = found.find(Pmap(1568), A1)
    assert (known.status, known.photmjsr) == (Status.UNKNOWN, None)
    assert "depends on the time of the exposure (TIMECOEFF in p_0300.fits)" in known.reason
    assert found.change(Pmap(1298), Pmap(1568), A1).status is Status.UNKNOWN
    # The same exposure has the same PHOTMJSR under both.
    same = found.change(Pmap(1568), Pmap(1595), A1)
    assert same.change is not None
    assert same.change.mag == 0.0


def test_references_by_band_date_and_source(book: Book) -> None:
    def write(rows: ContextRows) -> None:
        rows.reference("1298", "nrca1", "flat", "f_1.fits", filter="F200W", pupil="CLEAR")
        rows.reference("1298", "nrca1", "flat", "f_2.fits", filter="F150W", pupil="CLEAR")
        for useafter, name in (("2022-04-01 00:00:00", "f_3.fits"), ("2023-01-01", "f_4.fits")):
            rows.reference("1568", "nrca1", "flat", name, useafter=useafter)
        rows.reference("1595", "nrca1", "flat", "f_4.fits", source="one")
        rows.reference("1595", "nrca1", "flat", "f_5.fits", source="two")

    references = book(write).references
    b1 = A1._replace(array="nrcb1")
    find = references.find
    assert find(Pmap(1298), ReferenceKind.FLAT, A1).file_name == "f_1.fits"
    assert find(Pmap(1568), ReferenceKind.FLAT, A1).file_name == "f_4.fits"
    assert find(Pmap(1595), ReferenceKind.FLAT, A1).status is Status.CONFLICT
    assert references.is_changed(Pmap(1298), Pmap(1568), ReferenceKind.FLAT, A1) is True
    assert references.is_changed(Pmap(1298), Pmap(1595), ReferenceKind.FLAT, A1) is None
    assert references.is_changed(Pmap(1298), Pmap(1568), ReferenceKind.FLAT, b1) is None
