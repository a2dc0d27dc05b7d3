"""Flats carry the gradients of a registry: delta flats, cut-outs, products, and what is refused."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.io import fits

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import CatalogRow, DetectionRow, ExposureRow
from calreg.errors import (
    CalregError,
    FileFormatError,
    HeaderValueError,
    InvalidValueError,
    NoCalibrationError,
    OutputError,
    UnsupportedDataError,
)
from calreg.files.references.flat import product_flat
from calreg.science.sky.geometry import parse_s_region, sky_position, unit_vectors
from calreg.science.sky.pointing import sky_to_detector
from support.crdsfiles import NIRCAM, write_flat_parent
from support.fitsimages import write_image
from support.gradientsky import ARRAYS, BAND, PMAP, DetectorTruth, write_epochs
from support.registryrows import deliveries

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.references.parents import Parent, ReferenceMeta
    from calreg.instruments import Band
    from calreg.units import FloatArray

TRUTH = {"nrcalong": DetectorTruth(0.013, 5e-6), "nrcblong": DetectorTruth(0.0, 5e-6)}


@pytest.fixture(scope="module")
def registry_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite registry with one set that has a gradient."""
    folder = tmp_path_factory.mktemp("gradient")
    with Registry.create(str(folder / "registry.sqlite")) as registry:
        registry.ingest(write_epochs(folder / "stars", TRUTH, seed=9, n_stars=1500))
        registry.refit()
    return folder / "registry.sqlite"


@pytest.fixture
def url(registry_file: Path, tmp_path: Path) -> str:
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(registry_file.read_bytes())
    return str(copy)


def flat_path(folder: Path, array: str, more: str = "") -> Path:
    return folder / f"jwst_nircam_flat_calreg1130_{array}_f444w{more}.fits"


def delta(url: str, folder: Path) -> dict[str, FloatArray]:
    """Return delta flats of the whole arrays."""
    with Registry(url) as registry:
        registry.export_flat(folder, pmap=PMAP)
    return {name: fits.getdata(flat_path(folder, name), "SCI").astype(float) for name in ARRAYS}


def test_a_delta_flat_is_a_complete_reference_file(url: str, tmp_path: Path) -> None:
    with Registry(url) as registry:
        report = registry.export_flat(tmp_path / "out", pmap="1130")
        (row,) = registry.coefficients()
        assert registry.check() == []
    assert [one.path for one in report.deliveries] == [
        flat_path(tmp_path / "out", name) for name in ARRAYS
    ]
    assert any(note.startswith("delta flats: divide finished files") for note in report.notes)
    # Single exposures: the pixel of every source is known, and the gradient needs no assumption.
    assert not any("detector positions" in note for note in report.notes)
    for name in ARRAYS:
        with fits.open(flat_path(tmp_path / "out", name)) as opened:
            assert [hdu.name for hdu in opened] == ["PRIMARY", "SCI", "ERR", "DQ", "DQ_DEF"]
            sci, err, flags = (opened[plane].data for plane in ("SCI", "ERR", "DQ"))
            header = opened[0].header
        assert sci.shape == err.shape == flags.shape == (2048, 2048)
        assert (sci.dtype.kind, flags.dtype, flags.max()) == ("f", np.uint32, 0)
        assert sci.mean(dtype=float) == pytest.approx(1.0, abs=1e-9)
        relative = row.slope_err_mag_arcmin / abs(row.slope_mag_arcmin)
        assert err[1000, 0] == pytest.approx(relative * abs(sci[1000, 0] - 1.0), rel=0.01)
        cards = {
            "REFTYPE": "FLAT", "DATAMODL": "FlatModel", "DETECTOR": NIRCAM.arrays[name].detector,
            "FILTER": "F444W", "PUPIL": "CLEAR", "CHANNEL": "LONG", "SUBARRAY": "FULL",
            "SUBSTRT1": 1, "SUBSIZE2": 2048, "PEDIGREE": "INFLIGHT 2022-07-08 2023-01-06",
            "USEAFTER": "2022-07-08T00:00:00",
        }  # fmt: skip
        assert {keyword: header[keyword] for keyword in cards} == cards
        assert f"set {row.set_id}" in " ".join(" ".join(header["HISTORY"]).split())
    digests = {
        name: hashlib.sha256(flat_path(tmp_path / "out", name).read_bytes()).hexdigest()
        for name in ARRAYS
    }
    assert [(kind, digest, sets) for kind, _, _, digest, sets in deliveries(url)] == [
        ("flat", digests[name], {row.set_id}) for name in ARRAYS
    ]


def test_a_cut_out_is_the_part_of_the_whole(url: str, tmp_path: Path) -> None:
    """Its mean is not one: that of the whole array is, and photom knows no pixels."""
    like = write_image(
        tmp_path / "x_cal.fits",
        primary={"SUBARRAY": "SUB400P", "SUBSTRT1": 1621, "SUBSTRT2": 29,
                 "SUBSIZE1": 400, "SUBSIZE2": 200},
    )  # fmt: skip
    whole = delta(url, tmp_path / "whole")
    with Registry(url) as registry:
        registry.export_flat(tmp_path / "cut", pmap=PMAP, like=like)
    for name in ARRAYS:
        path = flat_path(tmp_path / "cut", name, "_sub400p")
        cut = fits.getdata(path, "SCI")
        np.testing.assert_array_equal(cut, whole[name][28:228, 1620:2020])
        assert abs(cut.mean(dtype=float) - 1.0) > 1e-4
        header = fits.getheader(path)
        assert [header[f"SUBSTRT{axis}"] for axis in "12"] == [1621, 29]
        assert [header[f"SUBSIZE{axis}"] for axis in "12"] == [400, 200]
        assert header["SUBARRAY"] == "SUB400P"


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"SUBSTRT1": None}, "SUBSTRT1 is None; expected a pixel number"),
        ({"SUBSTRT2": 1900}, "SUBSTRT2 and SUBSIZE2 reach to pixel 2099; expected at most 2048"),
    ],
)
def test_a_subarray_that_cannot_be(
    cards: dict[str, int | None], message: str, url: str, tmp_path: Path
) -> None:
    full: dict[str, int | None] = {
        "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": 400, "SUBSIZE2": 200,
    }  # fmt: skip
    like = write_image(tmp_path / "x_cal.fits", primary=full | cards)
    with Registry(url) as registry, pytest.raises(HeaderValueError, match=message):
        registry.export_flat(tmp_path / "out", pmap=PMAP, like=like)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def parents(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "parents"
    folder.mkdir()
    return {
        name: write_flat_parent(folder / f"jwst_nircam_flat_{name}.fits", NIRCAM.arrays[name], BAND)
        for name in ARRAYS
    }


def test_a_product_scales_values_and_errors_and_keeps_the_rest(
    url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    deltas = delta(url, tmp_path / "delta")
    with Registry(url) as registry:
        report = registry.export_flat(tmp_path / "out", pmap=PMAP, parents=[tmp_path / "parents"])
    assert report.notes == []
    for name in ARRAYS:
        with fits.open(parents[name]) as old, fits.open(flat_path(tmp_path / "out", name)) as new:
            assert [hdu.name for hdu in new] == [hdu.name for hdu in old]
            for plane in ("SCI", "ERR"):
                expected = old[plane].data.astype(float) * deltas[name]
                # Product and delta flat are rounded to single precision.
                np.testing.assert_allclose(new[plane].data, expected, rtol=1.3e-7)
                assert new[plane].data.dtype == old[plane].data.dtype
            assert np.isnan(new["SCI"].data).sum() == np.isnan(old["SCI"].data).sum() > 0
            for hdu in ("DQ", "DQ_DEF"):
                assert new[hdu].data.tobytes() == old[hdu].data.tobytes()
            header = new[0].header
            assert header["USEAFTER"] == old[0].header["USEAFTER"]
            assert header["FASTAXIS"] == old[0].header["FASTAXIS"]
        history = " ".join(" ".join(header["HISTORY"]).split())
        assert "Made from observations of the sky." in history
        assert hashlib.sha256(parents[name].read_bytes()).hexdigest() in history


def test_a_parent_of_a_subarray_takes_its_part(
    url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    deltas = delta(url, tmp_path / "delta")
    cards = {"SUBARRAY": "SUB160", "SUBSTRT1": 11, "SUBSTRT2": 201}
    for name, path in parents.items():
        path.unlink()
        write_flat_parent(path, NIRCAM.arrays[name], BAND, shape=(160, 120), cards=cards)
    with Registry(url) as registry:
        registry.export_flat(tmp_path / "out", pmap=PMAP, parents=list(parents.values()))
    for name, path in parents.items():
        old, new = (fits.getdata(p, "SCI") for p in (path, flat_path(tmp_path / "out", name)))
        is_good = np.isfinite(old)
        assert is_good.sum() > 19000
        expected = (old * deltas[name][200:360, 10:130])[is_good]
        np.testing.assert_allclose(new[is_good], expected, rtol=2e-7)


REFUSED: list[tuple[dict[str, object], type[CalregError], str]] = [
    ({"PEDIGREE": "GROUND"}, UnsupportedDataError, "a file from before flight"),
    ({"REFTYPE": "PHOTOM"}, UnsupportedDataError, "REFTYPE is 'PHOTOM'; expected 'FLAT'"),
    ({"EXP_TYPE": "NRC_WFSS"}, UnsupportedDataError, "made for EXP_TYPE NRC_WFSS"),
    ({"FILTER": "F356W"}, InvalidValueError, "no parent for nrcalong F444W"),
    ({"PUPIL": "F470N"}, InvalidValueError, "no parent for nrcalong F444W"),
    ({"DETECTOR": "NRCA1"}, InvalidValueError, "no parent for nrcalong F444W"),
    ({"P_PUPIL": "CLEAR|F470N|"}, InvalidValueError, "P_PUPIL is .*, for more than F444W"),
    ({"SUBSIZE1": 1000}, HeaderValueError, "SCI has .* pixels and the cards say 1000 x 2048"),
]


@pytest.mark.parametrize(("cards", "error", "message"), REFUSED)
def test_parents_that_cannot_be_are_refused(
    cards: dict[str, object],
    error: type[CalregError],
    message: str,
    url: str,
    parents: dict[str, Path],
    tmp_path: Path,
) -> None:
    parents["nrcalong"].unlink()
    write_flat_parent(parents["nrcalong"], NIRCAM.arrays["nrcalong"], BAND, cards=cards)
    with Registry(url) as registry, pytest.raises(error, match=message):
        registry.export_flat(tmp_path / "out", pmap=PMAP, parents=list(parents.values()))
    assert not (tmp_path / "out").exists()
    assert deliveries(url) == []


def test_a_flat_without_errors_is_refused(
    url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    with fits.open(parents["nrcblong"]) as opened:
        del opened["ERR"]
        opened.writeto(parents["nrcblong"], overwrite=True)
    with Registry(url) as registry, pytest.raises(FileFormatError, match="no HDU ERR"):
        registry.export_flat(tmp_path / "out", pmap=PMAP, parents=list(parents.values()))


def test_a_flat_that_is_not_the_product_is_not_left_behind(
    url: str, parents: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(
        parent: Parent, flat: FloatArray, band: Band, meta: ReferenceMeta, name: str
    ) -> bytes:
        return product_flat(parent, flat[::-1, ::-1], band, meta, name)

    monkeypatch.setattr("calreg.export.flat.product_flat", spoiled)
    with (
        Registry(url) as registry,
        pytest.raises(OutputError, match=r"flat of nrcalong F444W failed .* SCI is not"),
    ):
        registry.export_flat(tmp_path / "out", pmap=PMAP, parents=list(parents.values()))
    assert not (tmp_path / "out").exists()
    assert deliveries(url) == []


def test_photom_times_inverse_flat_is_the_correction_at_every_pixel(
    url: str, tmp_path: Path
) -> None:
    """In the files themselves: 10**(0.4 (offset + G(x, y))), G fitted, for both datums the same.

    The difference between the modules at pixels that see the same sky does not depend on how the
    gradient is shared.
    """
    ratios = {}
    for datum in ("symmetric", "B"):
        with Registry(url) as registry:
            registry.export_photom(tmp_path / datum, pmap=PMAP, gradient_datum=datum)
            registry.export_flat(tmp_path / datum, pmap=PMAP, gradient_datum=datum)
        table = fits.getdata(
            tmp_path / datum / "jwst_nircam_photom_calreg1130_nrcalong.fits", "PHOTOM"
        )
        factor = float(table["photmjsr"][0]) / 0.402
        a = factor / fits.getdata(flat_path(tmp_path / datum, "nrcalong"), "SCI").astype(float)
        b = np.ones_like(a)
        if datum == "symmetric":
            b = 1.0 / fits.getdata(flat_path(tmp_path / datum, "nrcblong"), "SCI").astype(float)
        # A half turn of the field puts pixel (x, y) of A near (2047 - x, 2047 - y) of B.
        ratios[datum] = 2.5 * np.log10(a / b[::-1, ::-1])
    with Registry(url) as registry:
        (row,) = registry.coefficients()
    # w of A's pixels is 1.45 arcmin from the middle at x = 1023.5, and grows by 0.0628 arcsec.
    w = -1.45 + (np.arange(2048.0) - 1023.5) * 0.0628 / 60.0
    expected = row.offset_ab_mag - row.slope_mag_arcmin * w
    for ratio in ratios.values():
        # The two pointings are 5 arcsec apart, and where d = 0 is between them is not known here.
        assert np.abs(ratio[1024] - expected).max() < 5.0 / 60.0 * abs(row.slope_mag_arcmin)
    # B is 2 arcsec nearer to the middle than A and the pointings are 5 arcsec apart, so that turned
    # pixels see sky up to 7 arcsec apart; half of the gradient over that depends on the datum.
    difference = np.abs(ratios["symmetric"] - ratios["B"]).max()
    assert difference < 0.5 * 7.0 / 60.0 * abs(row.slope_mag_arcmin)


# --- dithered mosaics -----------------------------------------------------------------------------

DILUTION = 0.75


def dilute_positions(url: str) -> int:
    """Store detector positions of the F444W mosaics that move 0.75 pixels per pixel of the sky."""
    statement = (
        sa.update(DetectionRow)
        .where(
            DetectionRow.catalog_id == sa.bindparam("of_catalog"),
            DetectionRow.number == sa.bindparam("of_number"),
        )
        .values(x_det=sa.bindparam("new_x"), y_det=sa.bindparam("new_y"))
    )
    changes = []
    with open_database(url) as database, database.write() as connection:
        images = connection.execute(
            sa.select(
                CatalogRow.id, ExposureRow.array, ExposureRow.s_region, ExposureRow.roll_ref_deg
            )
            .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
            .where(ExposureRow.band == "F444W")
        ).all()
        for catalog_id, name, s_region, roll_deg in images:
            corners = parse_s_region(s_region)
            ra0, dec0 = sky_position(unit_vectors(corners[:, 0], corners[:, 1]).mean(axis=0))
            of_catalog = DetectionRow.catalog_id == catalog_id
            rows = connection.execute(
                sa.select(DetectionRow.number, DetectionRow.ra_deg, DetectionRow.dec_deg).where(
                    of_catalog
                )
            ).all()
            numbers, ra, dec = (np.array(values) for values in zip(*rows, strict=True))
            assert roll_deg is not None
            x, y = sky_to_detector(ra, dec, NIRCAM.arrays[name], float(ra0), float(dec0), roll_deg)
            new_x, new_y = (1023.5 + DILUTION * (pixels - 1023.5) for pixels in (x, y))
            changes += [
                {
                    "of_catalog": catalog_id,
                    "of_number": int(numbers[i]),
                    "new_x": float(new_x[i]),
                    "new_y": float(new_y[i]),
                }
                for i in range(numbers.size)
            ]
        connection.execute(statement, changes)
    return len(changes)


def test_dithers_make_a_gradient_look_shallower_than_it_is(small_url: str, tmp_path: Path) -> None:
    """Where detector positions are known, the flat is as steep as the detector's gradient."""
    with Registry(small_url) as registry:
        before = registry.export_flat(tmp_path / "before", pmap=PMAP)
    assert [note for note in before.notes if "detector positions" in note] != []
    assert dilute_positions(small_url) > 500
    with Registry(small_url) as registry:
        after = registry.export_flat(tmp_path / "after", pmap=PMAP)
    assert [note for note in after.notes if "detector positions" in note] == []
    for name in ARRAYS:
        slopes = [
            np.polyfit(
                np.arange(2048.0),
                np.log10(fits.getdata(flat_path(tmp_path / when, name), "SCI").mean(axis=0)),
                1,
            )[0]
            for when in ("before", "after")
        ]
        # Sources are not spread evenly, and the outline's middle is not the reference point's.
        assert slopes[1] / slopes[0] == pytest.approx(1.0 / DILUTION, rel=1e-3)
        header = fits.getheader(flat_path(tmp_path / "after", name))
        history = " ".join(" ".join(header["HISTORY"]).split())
        assert "gradient on the detector over slope on the sky: 1.33" in history


def test_a_context_without_sets(url: str, tmp_path: Path) -> None:
    with (
        Registry(url) as registry,
        pytest.raises(NoCalibrationError, match=r"no coefficient set for jwst_1200\.pmap"),
    ):
        registry.export_flat(tmp_path / "out", pmap="1200")
    assert not (tmp_path / "out").exists()
