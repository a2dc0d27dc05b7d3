"""Files about contexts: what is taken, what is left out and said, what is in conflict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calreg import Registry
from calreg.contexts.zeropoints import ZeroPointKey, ZeroPoints
from calreg.db.engine import open_database
from calreg.db.queries.contexts import load_references
from calreg.db.queries.zeropoints import load_zero_points
from calreg.domain import Pmap, ReferenceKind, Status, ZeroPointKind
from calreg.ingest.options import IngestOptions
from support.contextfiles import write_cache, write_photom
from support.fitsimages import write_image
from support.programmes import row_counts

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.db.queries.zeropoints import StoredZeroPoint
    from calreg.domain import ReferenceChoice
    from calreg.ingest.options import IngestReport

TABLE = """# PHOTMJSR that we have come across
pmap,photom_ref,detector,filter,pupil,photmjsr,pixar_sr,source
jwst_1298.pmap,p_0155.fits,NRCA1,F200W,CLEAR,1.964,2.24e-14,notes (4 sig. digits)
jwst_1298.pmap,p_0151.fits,NRCB1,F200W,CLEAR,2.06,,"notes, of all detectors (4 sig. digits)"
jwst_0989.pmap,p_0118.fits,NRCB1,F200W,CLEAR,2.0223,,a pull request
,p_0064.fits,NRCALONG,F250M,GRISMR,1171.22,,file (PRE-FLIGHT WFSS)
,,NRCB1,F200W,CLEAR,2.0223,,header (context not recorded)
,,NRCB1,,,2.4124,,header (context and filter not recorded)
jwst_1146.pmap,p_0157.fits,NRCALONG,F300M,MASKRND,8.474,,header
"""

ECSV = """# %ECSV 1.0
# ---
# datatype:
# - {name: pmap, datatype: string}
# - {name: detector, datatype: string}
# - {name: filter, datatype: string}
# - {name: pupil, datatype: string}
# - {name: photmjsr, datatype: float64, unit: MJy / sr}
# - {name: subarray, datatype: string}
# - {name: source, datatype: string}
pmap detector filter pupil photmjsr subarray source
jwst_1298.pmap NRCA1 F200W CLEAR 1.9640 SUB160 "a table of ours"
"""

GRIZLI = """# JWST NIRCam zeropoints
NRCA1-F200W-CLEAR: [ 1.9640, 1.0339, 2.24e-14]  #  jwst_1293.pmap std_err = 0.0097
NRCB1-F150W2-F162M: [ 5.0990, 1.0000, 2.23e-14]  #  jwst_1293.pmap (fixed)
NRCA1-F150W2-F164N: [48.2510, 1.0521, 2.24e-14]  # interpolated
"""


def ingest(url: str, *paths: Path, pmap: int | None = None) -> IngestReport:
    options = IngestOptions(pmap=None if pmap is None else Pmap(pmap))
    with Registry(url) as registry:
        return registry.ingest(list(paths), options)


def points(url: str) -> list[StoredZeroPoint]:
    with open_database(url) as database, database.read() as connection:
        return load_zero_points(connection)


def references(url: str) -> list[ReferenceChoice]:
    with open_database(url) as database, database.read() as connection:
        return load_references(connection)


def zero_points(url: str) -> ZeroPoints:
    with open_database(url) as database, database.read() as connection:
        return ZeroPoints.load(connection)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_keeps_source_and_precision(db_url: str, tmp_path: Path) -> None:
    path = write(tmp_path / "history.csv", TABLE)
    [loaded] = ingest(db_url, path).loaded
    assert loaded.message == "3 PHOTMJSR under 2 contexts (3 new)"
    assert loaded.warnings == (
        "2 rows left out: context not recorded",
        "1 rows left out: from before flight",
        "1 rows left out: no imaging passband",
    )
    found = points(db_url)
    assert [(p.pmap.number, p.array, p.photmjsr) for p in found] == [
        (989, "nrcb1", 2.0223),
        (1298, "nrca1", 1.964),
        (1298, "nrcb1", 2.06),
    ]
    # Trailing zeros that a spreadsheet dropped come back with the digits that the source states.
    assert [p.photmjsr_half_width for p in found] == pytest.approx([5e-5, 5e-4, 5e-4])
    assert {(p.kind, p.subarray, p.file_name) for p in found} == {
        (ZeroPointKind.PUBLISHED, "", "history.csv")
    }
    assert found[2].source == "notes, of all detectors (4 sig. digits)"
    assert (found[1].pixar_sr, found[1].pixar_half_width_sr) == (2.24e-14, 5e-17)


def test_ecsv_with_subarrays_and_grizli(db_url: str, tmp_path: Path) -> None:
    report = ingest(
        db_url, write(tmp_path / "t.ecsv", ECSV), write(tmp_path / "jwst_zeropoints.yml", GRIZLI)
    )
    assert [outcome.kind for outcome in report.loaded] == [
        "table of PHOTMJSR",
        "grizli zero points",
    ]
    found = {(p.pmap.number, p.array, p.filter, p.pupil, p.subarray): p for p in points(db_url)}
    assert set(found) == {
        (1298, "nrca1", "F200W", "CLEAR", "SUB160"),
        (1293, "nrca1", "F200W", "CLEAR", ""),
        (1293, "nrcb1", "F150W2", "F162M", ""),
    }
    assert found[1298, "nrca1", "F200W", "CLEAR", "SUB160"].photmjsr_half_width == 5e-5
    assert found[1293, "nrca1", "F200W", "CLEAR", ""].source == "grizli jwst_zeropoints.yml"


def test_again_changes_nothing(db_url: str, tmp_path: Path) -> None:
    paths = (write(tmp_path / "h.csv", TABLE), write(tmp_path / "z.yml", GRIZLI))
    ingest(db_url, *paths)
    with Registry(db_url) as registry:
        before = row_counts(registry)
        report = registry.ingest(list(paths))
        assert row_counts(registry) == before
    assert (len(report.loaded), len(report.unchanged), report.is_committed) == (0, 2, False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("NRCA1", "NRCA9", r"line 3: unknown detector 'NRCA9'"),
        ("1.964,", "about 2,", r"line 3: 'about 2' is not a positive number"),
        ("jwst_1298.pmap", "latest", r"line 3: context 'latest' cannot be a key"),
        (",2.24e-14,", ",", r"line 3: 7 values for 8 columns"),
        ("1.964,", "1e-15,", r"line 3: PHOTMJSR is 1e-15, expected a number from 0.01 to 100"),
        ("F200W", "F444W", r"line 3: F444W is a LW band and nrca1 is SW"),
    ],
)
def test_a_bad_row_refuses_the_table(
    db_url: str, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write(tmp_path / "h.csv", TABLE.replace(old, new, 1))
    report = ingest(db_url, path)
    assert (report.loaded, points(db_url)) == ([], [])
    [refused] = report.refused
    assert str(path) in refused.message
    assert message in refused.message


def test_a_photom_file_needs_its_context(db_url: str, tmp_path: Path) -> None:
    rows = [
        ("F200W", "CLEAR", "FULL", 1.964),
        ("F200W", "CLEAR", "SUB160", 1.990),
        ("F300M", "MASKRND", "FULL", 8.0),
        ("F150W", "CLEAR", "FULL", float("nan")),
    ]
    path = write_photom(tmp_path / "p_0155.fits", "nrca1", rows)
    [refused] = ingest(db_url, path).refused
    assert "name it with --pmap" in refused.message
    [loaded] = ingest(db_url, path, pmap=1298).loaded
    assert loaded.message == "2 PHOTMJSR, 1 reference files under jwst_1298.pmap (3 new)"
    assert loaded.warnings == (
        "1 rows left out: PHOTMJSR not positive",
        "1 rows left out: no imaging passband",
    )
    found = points(db_url)
    assert [(p.subarray, p.kind, p.r_photom) for p in found] == [
        ("FULL", ZeroPointKind.TABLE, "p_0155.fits"),
        ("SUB160", ZeroPointKind.TABLE, "p_0155.fits"),
    ]
    assert found[0].photmjsr == pytest.approx(1.964, rel=1e-7)
    assert len(ingest(db_url, path, pmap=1298).unchanged) == 1


def test_time_coefficients_make_another_kind(db_url: str, tmp_path: Path) -> None:
    path = write_photom(tmp_path / "p.fits", "nrca1", [("F200W", "CLEAR", "", 1.9)], has_time=True)
    ingest(db_url, path, pmap=1600)
    assert [(p.kind, p.subarray) for p in points(db_url)] == [(ZeroPointKind.TIMED, "")]


@pytest.mark.parametrize(
    "cards",
    [{"PEDIGREE": "GROUND"}, {"EXP_TYPE": "NRC_WFSS"}, {"DATAMODL": "NrcWfssPhotomModel"}],
)
def test_photom_files_of_other_data_are_refused(
    db_url: str, tmp_path: Path, cards: dict[str, str]
) -> None:
    path = write_photom(tmp_path / "p.fits", "nrca1", [("F200W", "CLEAR", "", 1.9)], cards=cards)
    report = ingest(db_url, path, pmap=1298)
    assert (report.loaded, len(report.refused), points(db_url)) == ([], 1, [])


def test_a_pmap_leads_to_files_and_values(db_url: str, tmp_path: Path) -> None:
    pmap = write_cache(
        tmp_path,
        "jwst_1298.pmap",
        {
            "nrca1": "p_0155.fits",
            "nrcb1": {"2022-04-01": "p_0100.fits", "2023-01-01": "p_0151.fits"},
        },
        {("nrca1", "F200W"): "f_0695.fits", ("nrca1", "F150W"): "f_0657.fits"},
    )
    write_photom(
        tmp_path / "references" / "jwst" / "nircam" / "p_0155.fits",
        "nrca1",
        [("F200W", "CLEAR", "FULL", 1.964)],
    )
    [loaded] = ingest(db_url, pmap).loaded
    assert loaded.kind == "CRDS mapping"
    assert any("1 of 2 photom files are not in the cache" in text for text in loaded.warnings)
    assert any("USEAFTER" in text for text in loaded.warnings)
    assert [(p.pmap.number, p.array, p.r_photom) for p in points(db_url)] == [
        (1298, "nrca1", "p_0155.fits")
    ]
    known = zero_points(db_url)
    key = ZeroPointKey("nrcb1", "F200W", "CLEAR")
    assert known.photom_file(Pmap(1298), key).file_name == "p_0151.fits"
    find = known.references.find
    for band, name in (("F200W", "f_0695.fits"), ("F150W", "f_0657.fits")):
        found = find(Pmap(1298), ReferenceKind.FLAT, ZeroPointKey("nrca1", band, "CLEAR"))
        assert found.file_name == name
    a1 = key._replace(array="nrca1")
    assert find(Pmap(1298), ReferenceKind.AREA, a1).status is Status.UNKNOWN
    # The other file arrives later: its mapping says which context it is of.
    file = write_photom(tmp_path / "p_0151.fits", "nrcb1", [("F200W", "CLEAR", "FULL", 2.056)])
    [later] = ingest(db_url, file).loaded
    assert later.message == "1 PHOTMJSR under jwst_1298.pmap (1 new)"


def test_an_rmap_needs_its_context(db_url: str, tmp_path: Path) -> None:
    write_cache(tmp_path, "jwst_1298.pmap", {"nrca1": "p_0155.fits"})
    rmap = tmp_path / "mappings" / "jwst" / "jwst_nircam_photom_1298.rmap"
    [refused] = ingest(db_url, rmap).refused
    assert "does not say which context" in refused.message
    ingest(db_url, rmap, pmap=1298)
    assert [(r.pmap.number, r.file_name, r.filter, r.source) for r in references(db_url)] == [
        (1298, "p_0155.fits", "", "jwst_nircam_photom_1298.rmap")
    ]


def test_a_folder_of_mappings_is_read_by_its_pmaps(db_url: str, tmp_path: Path) -> None:
    cache = tmp_path / "crds"
    write_cache(cache, "jwst_1298.pmap", {"nrca1": "p_0155.fits"})
    report = ingest(db_url, cache)
    assert [outcome.path.name for outcome in report.loaded] == ["jwst_1298.pmap"]
    assert (report.refused, len(report.skipped)) == ([], 2)


def test_a_table_of_reference_files(db_url: str, tmp_path: Path) -> None:
    text = (
        "pmap,detector,filter,pupil,photom,flat,area\n"
        "jwst_1298.pmap,NRCA1,F200W,CLEAR,p_0155.fits,f_0695.fits,\n"
    )
    [loaded] = ingest(db_url, write(tmp_path / "bestrefs.csv", text)).loaded
    assert loaded.message == "2 reference files under jwst_1298.pmap (2 new)"
    assert {(r.kind, r.file_name, r.source) for r in references(db_url)} == {
        (ReferenceKind.PHOTOM, "p_0155.fits", "bestrefs.csv"),
        (ReferenceKind.FLAT, "f_0695.fits", "bestrefs.csv"),
    }


def test_sources_that_disagree_are_told_and_not_averaged(db_url: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a_cal.fits", science={"PHOTMJSR": 1.970}, primary={"FILTER": "F200W"})
    text = TABLE.replace("jwst_1298", "jwst_1130")
    report = ingest(db_url, tmp_path / "a_cal.fits", write(tmp_path / "h.csv", text))
    [table] = [outcome for outcome in report.loaded if outcome.kind == "table of PHOTMJSR"]
    assert table.warnings[-1] == (
        "conflict: nrca1 F200W under jwst_1130.pmap: PHOTMJSR disagree: "
        "1.964 (notes (4 sig. digits)), 1.97 (cal header)"
    )
    known = zero_points(db_url).find(Pmap(1130), ZeroPointKey("nrca1", "F200W", "CLEAR"))
    assert (known.status, known.photmjsr) == (Status.CONFLICT, None)


def test_the_real_tables(db_url: str, shared_data: Path) -> None:
    names = ("photmjsr_history.csv", "nircam_bestrefs_4contexts.csv", "jwst_zeropoints.yml")
    report = ingest(db_url, *(shared_data / name for name in names))
    messages = {outcome.path.name: outcome.message for outcome in report.loaded}
    assert messages == {
        "photmjsr_history.csv": "294 PHOTMJSR under 11 contexts (294 new)",
        "nircam_bestrefs_4contexts.csv": "360 reference files under 4 contexts (360 new)",
        "jwst_zeropoints.yml": "110 PHOTMJSR under jwst_1293.pmap (110 new)",
    }
    assert not any("conflict" in text for o in report.loaded for text in o.warnings)
    [left_out] = [o.warnings for o in report.loaded if o.path.name == "photmjsr_history.csv"]
    assert left_out == (
        "3 rows left out: context not recorded",
        "24 rows left out: from before flight",
        "2 rows left out: no imaging passband",
    )
    wfss = ingest(db_url, shared_data / "jwst_nircam_photom_0064.fits", pmap=1298)
    assert "DATAMODL is 'NrcWfssPhotomModel'" in wfss.refused[0].message
