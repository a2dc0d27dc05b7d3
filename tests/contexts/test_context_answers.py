"""What differs between contexts, which are equal, and an offset's history on real numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calreg import Registry
from calreg.contexts.diff import DiffRow, DiffStatus
from calreg.db.engine import open_database
from calreg.domain import Status
from calreg.errors import ConflictError, InvalidValueError, UnknownKeyError
from calreg.instruments import load_instrument
from calreg.instruments.contextevents import load_context_events
from support.contextrows import ContextRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from calreg.db.engines.columns import ColumnValue

REASON = "NRCB1 F200W is 2.0560 under both"


def fill(url: str, write: Callable[[ContextRows], None]) -> None:
    with open_database(url) as database, database.write() as connection:
        write(ContextRows(connection))


@pytest.fixture
def registry(db_url: str) -> Iterator[Registry]:
    with Registry(db_url) as opened:
        yield opened


@pytest.fixture
def real(registry: Registry, shared_data: Path) -> Registry:
    """The published offsets, and all that is known of PHOTMJSR and reference files."""
    registry.import_recipe(
        shared_data / "idf_zpcor_1130_pmap.ecsv", pmap="1130", source="Ma et al. 2024"
    )
    for name in ("photmjsr_history.csv", "nircam_bestrefs_4contexts.csv", "jwst_zeropoints.yml"):
        registry.ingest(shared_data / name)
    return registry


def one(rows: list[DiffRow], array: str, subarray: str = "FULL") -> DiffRow:
    [found] = [row for row in rows if row.array == array and row.subarray == subarray]
    return found


# --- diff -----------------------------------------------------------------------------------------


def test_diff_covers_every_array_and_band(registry: Registry) -> None:
    rows = registry.diff("1130", "1298")
    instrument = load_instrument()
    expected = {
        (array.name, band.name)
        for array in instrument.arrays.values()
        for band in instrument.bands.values()
        if band.channel == array.channel
    }
    assert {(row.array, row.band) for row in rows} == expected
    assert {row.status for row in rows} == {DiffStatus.UNKNOWN}
    assert {row.change_mag for row in rows} == {None}
    assert {row.flat_changed for row in rows} == {None}


def test_diff_tells_changes_from_rounding(db_url: str, registry: Registry) -> None:
    def write(rows: ContextRows) -> None:
        published: dict[str, ColumnValue] = {"kind": "published", "photmjsr_half_width": 0.0005}
        for pmap, value in (("1298", 2.100), ("1568", 2.026)):
            rows.photmjsr(pmap, "nrca1", value, **published)
        for pmap, value in (("1298", 2.100), ("1568", 2.101)):
            rows.photmjsr(pmap, "nrca2", value, **published)
        rows.photmjsr("1298", "nrca3", 1.9, pixar_sr=2.0e-14)
        rows.photmjsr("1568", "nrca3", 1.9, pixar_sr=2.2e-14)
        rows.photmjsr("1298", "nrca4", 1.9)
        for pmap, flat in (("1298", "f_1.fits"), ("1568", "f_2.fits")):
            rows.reference(pmap, "nrca1", "flat", flat)
            rows.reference(pmap, "nrca1", "area", "a_1.fits")
            rows.photmjsr(pmap, "nrca1", 2.0, subarray="SUB160")

    fill(db_url, write)
    rows = registry.diff("1298", "1568", band="F200W")
    changed = one(rows, "nrca1")
    assert changed.status is DiffStatus.CHANGED
    # PHOTMJSR fell: fainter under the second context, so positive.
    assert changed.change_mag == pytest.approx(0.03895, abs=1e-5)
    assert changed.photmjsr_change_percent == pytest.approx(-3.524, abs=1e-3)
    assert changed.change_err_mag == pytest.approx(2.15e-4, rel=0.01)
    assert (changed.flat_changed, changed.area_changed) == (True, False)
    assert one(rows, "nrca1", "SUB160").status is DiffStatus.EQUAL
    rounding = one(rows, "nrca2")
    assert rounding.status is DiffStatus.EQUAL
    assert rounding.change_mag == pytest.approx(-0.000517, abs=1e-6)
    # Pixel area is apart from PHOTMJSR: point sources brighter by its growth.
    area = one(rows, "nrca3")
    assert (area.status, area.change_mag) == (DiffStatus.EQUAL, 0.0)
    assert area.pixar_change_mag == pytest.approx(-0.10348, abs=1e-5)
    missing = one(rows, "nrca4")
    assert (missing.status, missing.change_mag) == (DiffStatus.UNKNOWN, None)
    assert "nrca4 F200W under jwst_1568.pmap is not recorded" in missing.reason
    back = one(registry.diff("1568", "1298", band="F200W", array="nrca1"), "nrca1")
    assert back.change_mag == pytest.approx(-0.03895, abs=1e-5)


def test_a_subarray_alone_changes(db_url: str, registry: Registry) -> None:
    def write(rows: ContextRows) -> None:
        for pmap, of_subarray in (("1298", 1.964), ("1568", 1.990)):
            for array in ("nrca1", "nrcb1"):
                rows.photmjsr(pmap, array, 1.964, kind="table")
            rows.photmjsr(pmap, "nrca1", of_subarray, kind="table", subarray="SUB160")
            rows.photmjsr(pmap, "nrcb1", 1.964, kind="table", subarray="SUB160")
        rows.solution("1298", 0.015, 0.001)

    fill(db_url, write)
    rows = registry.diff("1298", "1568", band="F200W", array="nrca1")
    assert {row.subarray: row.status for row in rows} == {
        "FULL": DiffStatus.EQUAL,
        "SUB160": DiffStatus.CHANGED,
    }
    [full] = registry.predict("1568", pmap_from="1298")
    assert (full.predicted_offset_ab_mag, full.subarray) == (0.015, "FULL")
    [part] = registry.predict("1568", pmap_from="1298", subarray="SUB160")
    assert part.predicted_offset_ab_mag == pytest.approx(0.015 - 0.014279, abs=1e-6)
    [unknown] = registry.predict("1568", pmap_from="1298", subarray="SUB64P")
    assert unknown.status is Status.UNKNOWN


def test_module_b_moved_too(real: Registry) -> None:
    """NRCB1 F200W 2.0223 under 0989, 2.0560 under 1126: module B is no fixed point."""
    found = one(real.diff("989", "1126", band="F200W"), "nrcb1")
    assert found.status is DiffStatus.CHANGED
    assert (found.photmjsr_1, found.photmjsr_2) == (2.0223, 2.056)
    assert found.photmjsr_change_percent == pytest.approx(1.666, abs=1e-3)
    assert found.change_mag == pytest.approx(-0.01795, abs=1e-5)
    assert (found.photom_1[-9:], found.photom_2[-9:]) == ("0118.fits", "0149.fits")
    assert found.source_1.startswith("gbrammer/grizli PR#176")
    assert found.source_2 == found.source_1


# --- equal contexts -------------------------------------------------------------------------------


def test_an_equality_is_stored_once_and_withdrawn_with_reason(registry: Registry) -> None:
    declared = registry.declare_equal("1298", "1130", reason=f"  {REASON} ")
    assert (declared.pmap_1, declared.pmap_2) == ("jwst_1130.pmap", "jwst_1298.pmap")
    assert (declared.reason, declared.is_new) == (REASON, True)
    again = registry.declare_equal("1130", "1298", reason=REASON)
    assert (again.is_new, again.declared_utc) == (False, declared.declared_utc)
    with pytest.raises(ConflictError, match="another reason"):
        registry.declare_equal("1130", "1298", reason="hearsay")
    withdrawn = registry.withdraw_equal("1130", "1298", reason="a delivery came to light")
    assert withdrawn.withdrawn_reason == "a delivery came to light"
    assert registry.equalities() == []
    assert [row.reason for row in registry.equalities(include_withdrawn=True)] == [REASON]
    with pytest.raises(UnknownKeyError, match="not declared equal"):
        registry.withdraw_equal("1130", "1298", reason="again")
    assert registry.declare_equal("1130", "1298", reason="once more").is_new


@pytest.mark.parametrize(
    ("other", "reason", "message"),
    [("1130", REASON, "equals itself"), ("1298", "  ", "a reason is needed")],
)
def test_equalities_that_cannot_be(
    registry: Registry, other: str, reason: str, message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        registry.declare_equal("1130", other, reason=reason)
    assert registry.equalities() == []


def test_recorded_values_refuse_an_equality(db_url: str, registry: Registry) -> None:
    def write(rows: ContextRows) -> None:
        rows.photmjsr("1130", "nrca1", 1.960)
        rows.photmjsr("1298", "nrca1", 1.964, subarray="", source="a table")

    fill(db_url, write)
    with pytest.raises(ConflictError, match=r"nrca1 F200W is 1\.96 \(cal header\) and 1\.964"):
        registry.declare_equal("1130", "1298", reason=REASON)
    assert registry.equalities() == []


def test_as_of_goes_by_when_it_was_declared(db_url: str, registry: Registry) -> None:
    def write(rows: ContextRows) -> None:
        for array in ("nrca1", "nrcb1"):
            rows.photmjsr("1298", array, 1.9)
        rows.solution("1130", 0.01, 0.001)

    fill(db_url, write)
    declared = registry.declare_equal("1130", "1298", reason=REASON)
    withdrawn = registry.withdraw_equal("1130", "1298", reason="no")
    assert withdrawn.withdrawn_utc is not None

    def status(as_of: object) -> Status:
        [row] = registry.predict("1298", pmap_from="1130", as_of_utc=as_of)  # type: ignore[arg-type]
        return row.status

    assert status(declared.declared_utc) is Status.OK
    assert status(withdrawn.withdrawn_utc) is Status.UNKNOWN
    assert status(None) is Status.UNKNOWN


# --- contexts -------------------------------------------------------------------------------------


def test_contexts_in_integer_order_with_what_is_on_record(db_url: str, registry: Registry) -> None:
    def write(rows: ContextRows) -> None:
        for pmap in ("10000", "1000", "999"):
            rows.photmjsr(pmap, "nrca1", 1.9)

    fill(db_url, write)
    rows = registry.pmaps()
    named = [row.pmap for row in rows if row.pmap is not None]
    numbers = [int(name[5:-5]) for name in named]
    assert numbers == sorted(numbers)
    assert named.index("jwst_0999.pmap") + 1 == named.index("jwst_1000.pmap")
    assert named[-1] == "jwst_10000.pmap"
    by_name = {row.pmap: row for row in rows}
    ours = by_name["jwst_1000.pmap"]
    assert (ours.n_zero_points, ours.what) == (1, "not recorded (which is not: no change)")
    assert (ours.source, ours.confidence) == ("", "")
    assert by_name["jwst_1126.pmap"].source == "grizli#176; DOLPHOT versions.txt"
    # An event that no source ties to a context stands where its date belongs.
    places = {row.what[:6]: place for place, row in enumerate(rows)}
    assert named.index("jwst_1130.pmap") < places["photom"]
    dates = [row.date for row in rows if row.pmap is None]
    assert dates == ["2023-10", "2024-02", "2024-10-09", "2025-05 to 2025-09"]


def test_every_event_has_source_and_confidence() -> None:
    events = load_context_events("NIRCAM")
    assert len(events) == 34
    assert all(event.what and event.source for event in events)
    assert {event.confidence for event in events} == {"stated", "by date", "in use"}
    # That 1489 brought photom_0166-0175 is concluded from dates.
    told = [event.confidence for event in events if "photom_0166-0175 (" in event.what]
    assert told == ["by date"]
    assert load_context_events("no such instrument") == ()


# --- history --------------------------------------------------------------------------------------


def test_history_on_real_numbers(real: Registry) -> None:
    real.declare_equal("1130", "1298", reason=REASON)
    rows = {row.pmap[5:9]: row for row in real.history("F200W", "1")}
    assert list(rows) == ["0942", "0989", "1126", "1130", "1293", "1298", "1322", "1568", "1595"]
    measured = rows["1130"]
    assert [(e.source, round(e.offset_ab_mag, 5)) for e in measured.external] == [
        ("Ma et al. 2024", 0.01534)
    ]
    assert measured.prediction_status is None, "nothing else was measured"
    assert (measured.photmjsr_a, measured.photmjsr_b) == (1.964, 2.056)
    assert REASON in measured.note
    today = rows["1568"]
    assert today.predicted_offset_ab_mag == pytest.approx(0.00492, abs=1e-5)
    assert today.predicted_err_mag == pytest.approx(0.00116, abs=1e-5)
    assert today.predicted_from == "jwst_1130.pmap"
    assert today.references_changed == ("photom A", "photom B")
    assert today.references_unknown == ()
    assert today.flat_a == "jwst_nircam_flat_0695.fits"
    # Known through the file that 1595 names; the declaration is named where it is rested on.
    assert rows["1595"].predicted_offset_ab_mag == today.predicted_offset_ab_mag
    assert "jwst_nircam_photom_0173.fits as under jwst_1568.pmap" in rows["1595"].prediction_basis
    for pmap in ("1298", "1322", "1568", "1595"):
        assert REASON in rows[pmap].prediction_basis
    unknown = rows["1126"]
    assert unknown.prediction_status is Status.UNKNOWN
    assert unknown.predicted_offset_ab_mag is None
    assert "photom B" in unknown.references_changed
    assert "flat A" in unknown.references_unknown
