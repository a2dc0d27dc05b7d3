"""Photom files say what the registry says, keep all else of their parents, and refuse others."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.io import fits

from calreg import Registry
from calreg.db.schema import DeliveryRow
from calreg.errors import (
    InvalidValueError,
    NoCalibrationError,
    OutputError,
)
from calreg.files.references.photom import corrected_copy
from calreg.simulation.files import write_programme
from support.crdsfiles import NIRCAM, SUBARRAYS
from support.fitsimages import write_image
from support.programmes import PMAP, small_programme
from support.referencesets import used_references, write_cache, write_parents
from support.registryrows import deliveries

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.references.parents import Parent, ReferenceMeta

CORRECTED = ["nrca1", "nrca2", "nrca3", "nrca4", "nrcalong"]


def photom_path(folder: Path, array: str) -> Path:
    return folder / f"jwst_nircam_photom_calreg1130_{array}.fits"


def offsets(registry: Registry) -> dict[tuple[str, str], float]:
    return {(row.array_id, row.band): row.offset_ab_mag for row in registry.coefficients(pmap=PMAP)}


@pytest.fixture
def parents(small_url: str, tmp_path: Path) -> dict[str, Path]:
    """Return the photom file of every array."""
    return write_parents(small_url, PMAP, tmp_path / "parents", loss_per_year=0.01, checksum=True)


def listed(folder: Path) -> list[str]:
    """Return what is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_rows_of_corrected_bands_are_scaled_and_all_else_stays(
    small_url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with Registry(small_url) as registry:
        report = registry.export_photom(out, pmap="1130", parents=[tmp_path / "parents"])
        offset_mag = offsets(registry)
    assert listed(out) == [photom_path(out, name).name for name in CORRECTED]
    assert [one.path for one in report.deliveries] == [photom_path(out, n) for n in CORRECTED]
    for name in CORRECTED[:4]:
        before = fits.open(parents[name])
        after = fits.open(photom_path(out, name))
        assert [hdu.name for hdu in after] == ["PRIMARY", "PHOTOM", "TIMECOEFF_LINEAR"]
        old, new = before["PHOTOM"].data, after["PHOTOM"].data
        assert new.columns.names == old.columns.names
        assert new.columns.formats == old.columns.formats
        is_band = old["filter"] == "F200W"
        assert is_band.sum() == len(SUBARRAYS)
        factor = 10.0 ** (0.4 * offset_mag[name[-1], "F200W"])
        # One rounding to single precision.
        np.testing.assert_allclose(
            new["photmjsr"][is_band], factor * old["photmjsr"][is_band].astype(float), rtol=6e-8
        )
        for column in ("filter", "pupil", "subarray"):
            assert list(new[column]) == list(old[column])
        for column in ("photmjsr", "uncertainty"):
            np.testing.assert_array_equal(new[column][~is_band], old[column][~is_band])
        np.testing.assert_array_equal(
            after["TIMECOEFF_LINEAR"].data.tobytes(), before["TIMECOEFF_LINEAR"].data.tobytes()
        )
        before.close()
        after.close()


def test_the_uncertainty_is_the_parents_and_ours(
    small_url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    with Registry(small_url) as registry:
        registry.export_photom(tmp_path / "out", pmap=PMAP, parents=[tmp_path / "parents"])
        (row,) = registry.coefficients(pmap=PMAP, band="F200W", array_id="2")
    old = fits.getdata(parents["nrca2"], "PHOTOM")
    new = fits.getdata(photom_path(tmp_path / "out", "nrca2"), "PHOTOM")
    is_band = old["filter"] == "F200W"
    relative = np.hypot(0.02, 0.4 * np.log(10.0) * row.offset_ab_err_mag)
    np.testing.assert_allclose(
        new["uncertainty"][is_band], relative * new["photmjsr"][is_band], rtol=1e-6
    )


def test_cards_say_what_was_done_from_what(
    small_url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    with Registry(small_url) as registry:
        registry.export_photom(tmp_path / "out", pmap=PMAP, parents=[tmp_path / "parents"])
        (row,) = registry.coefficients(pmap=PMAP, band="F444W")
    old = fits.getheader(parents["nrcalong"])
    new = fits.getheader(photom_path(tmp_path / "out", "nrcalong"))
    changed = {"DATE", "FILENAME", "AUTHOR", "DESCRIP", "PEDIGREE", "HISTORY"}
    for keyword in set(old) - changed - {"CHECKSUM", "DATASUM", "CONTINUE"}:
        assert new[keyword] == old[keyword]
    assert {"CHECKSUM", "DATASUM"} & set(new) == set()
    assert (new["USEAFTER"], new["P_EXP_TY"]) == (old["USEAFTER"], old["P_EXP_TY"])
    # The dates of the exposures behind the set: the programme's three epochs.
    assert new["PEDIGREE"] == "INFLIGHT 2022-07-08 2023-07-06"
    assert new["FILENAME"] == photom_path(tmp_path, "nrcalong").name
    assert new["AUTHOR"].startswith("calreg ")
    assert "offsets between modules under jwst_1130.pmap corrected (measured)" in new["DESCRIP"]
    history = " ".join(" ".join(new["HISTORY"]).split())
    digest = hashlib.sha256(parents["nrcalong"].read_bytes()).hexdigest()
    for text in (
        "Made from observations of standard stars.",
        f"Parent {parents['nrcalong'].name} of A. Calibrator",
        f"Parent sha256 {digest}",
        f"set {row.set_id}",
        "version 1, jwst_1130.pmap, field JWIDF, i2d iso, datum B",
        f"m_A - m_B {row.offset_ab_mag:+.5f} mag",
        f"slope {row.slope_mag_arcmin:+.6f} mag/arcmin, gradient datum symmetric",
    ):
        assert text in history


def test_deliveries_are_recorded_with_digest_and_sets(
    small_url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    del parents
    out = tmp_path / "out"
    with Registry(small_url) as registry:
        registry.export_photom(out, pmap=PMAP, parents=[tmp_path / "parents"])
        ids = {row.array_id: {row.set_id} for row in registry.coefficients(pmap=PMAP)}
        assert registry.check() == []
    assert deliveries(small_url) == [
        (
            "photom",
            str(out),
            photom_path(out, name).name,
            hashlib.sha256(photom_path(out, name).read_bytes()).hexdigest(),
            ids[NIRCAM.arrays[name].array_id],
        )
        for name in CORRECTED
    ]


def test_arrays_that_are_the_datum_get_identical_copies_when_asked(
    small_url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with Registry(small_url) as registry:
        registry.export_photom(out, pmap=PMAP, parents=[tmp_path / "parents"], all_arrays=True)
    assert len(listed(out)) == 10
    for name in ("nrcb3", "nrcblong"):
        old, new = (fits.open(path) for path in (parents[name], photom_path(out, name)))
        for hdu in ("PHOTOM", "TIMECOEFF_LINEAR"):
            assert old[hdu].data.tobytes() == new[hdu].data.tobytes()
        assert "Module B is the datum: every row is as it was" in list(new[0].header["HISTORY"])
        old.close()
        new.close()


def test_a_parent_without_subarrays(small_url: str, tmp_path: Path) -> None:
    parents = write_parents(small_url, PMAP, tmp_path / "parents", subarrays=())
    with Registry(small_url) as registry:
        registry.export_photom(
            tmp_path / "out", pmap=PMAP, parents=[parents[name] for name in CORRECTED]
        )
        offset_mag = offsets(registry)
    new = fits.getdata(photom_path(tmp_path / "out", "nrca3"), "PHOTOM")
    old = fits.getdata(parents["nrca3"], "PHOTOM")
    ratio = dict(zip(new["filter"], new["photmjsr"] / old["photmjsr"], strict=True))
    assert ratio["F070W"] == 1.0
    assert ratio["F200W"] == pytest.approx(10.0 ** (0.4 * offset_mag["3", "F200W"]), rel=2e-7)


# --- without parent -------------------------------------------------------------------------------


@pytest.fixture
def with_exposures(small_url: str, tmp_path: Path) -> str:
    """Return a registry that also has exposures, which know PIXAR_SR."""
    written = write_programme(small_programme(), tmp_path / "exposures")
    with Registry(small_url) as registry:
        registry.ingest([path for path in written if path.name.endswith("_cal.fits")])
    return small_url


def test_without_parent_a_file_is_made_from_photmjsr(with_exposures: str, tmp_path: Path) -> None:
    with Registry(with_exposures) as registry:
        report = registry.export_photom(tmp_path / "out", pmap=PMAP, all_arrays=True)
        offset_mag = offsets(registry)
    (note,) = report.notes
    assert "no parent: made from PHOTMJSR of exposures" in note
    used = used_references(with_exposures, PMAP)
    for name, array in NIRCAM.arrays.items():
        with fits.open(photom_path(tmp_path / "out", name)) as opened:
            header, table = opened[0].header, opened["PHOTOM"].data
        factor = 10.0 ** (0.4 * offset_mag["1", "F200W"]) if name == "nrca1" else None
        ((key, photmjsr),) = used[name].values.items()
        assert [(row["filter"], row["pupil"]) for row in table] == [key]
        if factor is not None:
            assert table["photmjsr"][0] == pytest.approx(factor * photmjsr, rel=1e-7)
        if array.module == "B":
            assert table["photmjsr"][0] == np.float32(photmjsr)
            assert np.isnan(table["uncertainty"][0])
        assert "no parent file, only" in header["DESCRIP"]
        assert header["DETECTOR"] == array.detector
        assert header["P_EXP_TY"] == "NRC_IMAGE|NRC_TSIMAGE|"
        assert header["USEAFTER"] == "2022-07-08T00:00:00"
        area_arcsec2 = array.x_scale_arcsec * array.y_scale_arcsec
        assert header["PIXAR_A2"] == pytest.approx(area_arcsec2, rel=1e-6)
        assert header["PIXAR_SR"] == pytest.approx(
            area_arcsec2 * np.radians(1.0 / 3600.0) ** 2, rel=1e-6
        )


def test_mosaics_alone_do_not_know_the_pixel_area(small_url: str, tmp_path: Path) -> None:
    with (
        Registry(small_url) as registry,
        pytest.raises(NoCalibrationError, match=r"nrca1: no PIXAR_SR .* ingest one cal exposure"),
    ):
        registry.export_photom(tmp_path / "out", pmap=PMAP)
    assert not (tmp_path / "out").exists()


# --- the cache ------------------------------------------------------------------------------------


def test_parents_come_from_the_context_in_a_cache(small_url: str, tmp_path: Path) -> None:
    maker = write_cache(small_url, PMAP, tmp_path / "crds")
    with Registry(small_url) as registry:
        report = registry.export_photom(tmp_path / "out", pmap=PMAP, cache=maker.path)
    assert report.notes == [f"parents from {maker.path}"]
    used = used_references(small_url, PMAP)
    for name in CORRECTED:
        history = list(fits.getheader(photom_path(tmp_path / "out", name))["HISTORY"])
        assert f"Parent {used[name].r_photom} of A. Calibrator" in history


def test_without_the_context_the_headers_name_the_parents(small_url: str, tmp_path: Path) -> None:
    maker = write_cache(small_url, PMAP, tmp_path / "crds")
    shutil.rmtree(maker.mappings)
    with Registry(small_url) as registry:
        registry.export_photom(tmp_path / "out", pmap=PMAP, cache=maker.path)
        assert listed(tmp_path / "out") == [photom_path(tmp_path, n).name for n in CORRECTED]
        used = used_references(small_url, PMAP)
        (maker.references / used["nrca2"].r_photom).unlink()
        with pytest.raises(InvalidValueError, match=r"no photom file of nrca2 in .*crds, but"):
            registry.export_photom(tmp_path / "other", pmap=PMAP, cache=maker.path)
    assert not (tmp_path / "other").exists()


def test_a_cache_of_another_origin_is_refused(small_url: str, tmp_path: Path) -> None:
    maker = write_cache(small_url, PMAP, tmp_path / "crds")
    used = used_references(small_url, PMAP)
    with Registry(small_url) as registry:
        lost = maker.references / used["nrca3"].r_photom
        lost.rename(lost.with_suffix(".kept"))
        with pytest.raises(InvalidValueError, match=rf"{lost.name}, which is not in .*crds sync"):
            registry.export_photom(tmp_path / "out", pmap=PMAP, cache=maker.path)
        lost.with_suffix(".kept").rename(lost)
        key = next(key for key in maker.entries["PHOTOM"] if key[0] == "NRCA1")
        maker.entries["PHOTOM"][key]["2023-01-01 00:00:00"] = "jwst_nircam_photom_0999.fits"
        maker.write_mappings()
        with pytest.raises(InvalidValueError, match=r"has jwst_nircam_\S+ at the begin of"):
            registry.export_photom(tmp_path / "out", pmap=PMAP, cache=maker.path)
        maker.add_entry("PHOTOM", key, "jwst_nircam_photom_0999.fits")
        maker.write_mappings()
        with pytest.raises(InvalidValueError, match="but the exposures were calibrated with"):
            registry.export_photom(tmp_path / "out", pmap=PMAP, cache=maker.path)
    assert not (tmp_path / "out").exists()


# --- files that fail ------------------------------------------------------------------------------


def test_a_file_that_fails_its_check_is_not_left_behind(
    small_url: str,
    parents: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last of five files has a row that was not scaled."""

    def spoiled(parent: Parent, scalings: Any, meta: ReferenceMeta, name: str) -> bytes:
        return corrected_copy(parent, [] if "nrcalong" in name else scalings, meta, name)

    monkeypatch.setattr("calreg.export.photom.corrected_copy", spoiled)
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with (
        Registry(small_url) as registry,
        pytest.raises(OutputError, match=r"photom file of nrcalong failed its check .*expected"),
    ):
        registry.export_photom(out, pmap=PMAP, parents=[tmp_path / "parents"])
    assert listed(out) == ["mine.txt"]
    assert deliveries(small_url) == []
    del parents


def test_a_commit_that_fails_leaves_no_file_without_a_row(
    small_url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    del parents
    out = tmp_path / "out"
    out.mkdir()
    photom_path(out, "nrca4").write_text("mine")
    (tmp_path / "recipe.ecsv").write_text("mine")

    def refuse(connection: sa.Connection) -> None:
        if connection.scalar(sa.select(sa.func.count(DeliveryRow.id))):
            msg = "the disk is full"
            raise OutputError(msg)

    with Registry(small_url) as registry:
        sa.event.listen(sa.Engine, "commit", refuse)
        try:
            with pytest.raises(OutputError, match="the disk is full"):
                registry.export_photom(
                    out, pmap=PMAP, parents=[tmp_path / "parents"], overwrite=True
                )
            with pytest.raises(OutputError, match="the disk is full"):
                registry.export_recipe(tmp_path / "recipe.ecsv", pmap=PMAP, overwrite=True)
            with pytest.raises(OutputError, match="the disk is full"):
                registry.export_parquet(tmp_path / "tables")
        finally:
            sa.event.remove(sa.Engine, "commit", refuse)
    assert listed(out) == [photom_path(out, "nrca4").name]
    assert photom_path(out, "nrca4").read_text() == "mine"
    assert (tmp_path / "recipe.ecsv").read_text() == "mine"
    assert list((tmp_path / "tables").iterdir()) == []
    assert deliveries(small_url) == []


def test_existing_files_are_kept_unless_told(
    small_url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    del parents
    out = tmp_path / "out"
    out.mkdir()
    photom_path(out, "nrca4").write_text("mine")
    with Registry(small_url) as registry:
        with pytest.raises(OutputError, match=r"nrca4.fits: it exists.*--overwrite"):
            registry.export_photom(out, pmap=PMAP, parents=[tmp_path / "parents"])
        assert listed(out) == [photom_path(out, "nrca4").name]
        assert photom_path(out, "nrca4").read_text() == "mine"
        registry.export_photom(out, pmap=PMAP, parents=[tmp_path / "parents"], overwrite=True)
    assert fits.getval(photom_path(out, "nrca4"), "DETECTOR") == "NRCA4"


def test_no_set_is_an_error(small_url: str, tmp_path: Path) -> None:
    with (
        Registry(small_url) as registry,
        pytest.raises(NoCalibrationError, match=r"no coefficient set for jwst_1200\.pmap"),
    ):
        registry.export_photom(tmp_path / "out", pmap="1200")
    assert not (tmp_path / "out").exists()


# --- predicted ------------------------------------------------------------------------------------

NEW_PMAP = "jwst_1200.pmap"
NEW_VALUES = {"nrca1": 2.05, "nrcb1": 2.01}


@pytest.fixture
def with_new_context(small_url: str, tmp_path: Path) -> str:
    """Return a registry that knows PHOTMJSR of two arrays under a context without sets."""
    paths = [
        write_image(
            tmp_path / f"jw01176301001_02101_00001_{name}_cal.fits",
            primary={
                "DETECTOR": NIRCAM.arrays[name].detector,
                "FILTER": "F200W",
                "CRDS_CTX": NEW_PMAP,
                "OBSERVTN": "301",
            },
            science={"PHOTMJSR": value},
        )
        for name, value in NEW_VALUES.items()
    ]
    with Registry(small_url) as registry:
        assert registry.ingest(paths).refused == []
    return small_url


def test_a_prediction_is_carried_by_photmjsr_and_says_so(
    with_new_context: str, tmp_path: Path
) -> None:
    used = used_references(with_new_context, PMAP)
    (old_a,), (old_b,) = (used[name].values.values() for name in ("nrca1", "nrcb1"))
    with Registry(with_new_context) as registry:
        with pytest.raises(NoCalibrationError, match=r"no coefficient set for jwst_1200"):
            registry.export_photom(tmp_path / "out", pmap=NEW_PMAP)
        report = registry.export_photom(tmp_path / "out", pmap=NEW_PMAP, predict=True)
        offset_mag = offsets(registry)["1", "F200W"]
        (row,) = registry.coefficients(pmap=PMAP, band="F200W", array_id="1")
    (delivery,) = report.deliveries
    assert delivery.path.name == "jwst_nircam_photom_calreg1200predicted_nrca1.fits"
    change = -2.5 * np.log10((NEW_VALUES["nrca1"] / old_a) / (NEW_VALUES["nrcb1"] / old_b))
    factor = 10.0 ** (0.4 * (offset_mag + change))
    with fits.open(delivery.path) as opened:
        header, table = opened[0].header, opened["PHOTOM"].data
    # PHOTMJSR times the factor is what makes A agree with B: the change cancels.
    assert table["photmjsr"][0] == pytest.approx(factor * NEW_VALUES["nrca1"], rel=1e-6)
    assert "PREDICTED by PHOTMJSR, not measured" in header["DESCRIP"]
    history = " ".join(" ".join(header["HISTORY"]).split())
    assert f"PREDICTED for {NEW_PMAP} by PHOTMJSR from the {offset_mag:+.5f} mag" in history
    assert f"set {row.set_id}" in history
    notes = " / ".join(report.notes)
    assert "PREDICTED, not measured: F200W array 1, m_A - m_B" in notes
    assert notes.count("left as it is: ") == 4


def test_what_was_measured_is_not_predicted(
    small_url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    del parents
    options = {"pmap": PMAP, "parents": [tmp_path / "parents"]}
    with Registry(small_url) as registry:
        plain = registry.export_photom(tmp_path / "plain", **options)  # type: ignore[arg-type]
        asked = registry.export_photom(tmp_path / "asked", predict=True, **options)  # type: ignore[arg-type]
    assert asked.notes == []
    for one, other in zip(plain.deliveries, asked.deliveries, strict=True):
        assert one.path.name == other.path.name
        tables = [fits.getdata(found.path, "PHOTOM").tobytes() for found in (one, other)]
        assert tables[0] == tables[1]
