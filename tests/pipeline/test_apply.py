"""Finished exposures corrected, beside the pipeline run again with our reference files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from astropy.io import fits

from calreg import Registry
from calreg.apply.options import ApplyOptions
from calreg.science.model.gradient import GradientDatum
from support.correctedfiles import raw_headers, tree_of, ulps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Exported = Any

PLANES = ("data", "err", "var_poisson", "var_rnoise", "var_flat")
IN_PLACE = ApplyOptions(is_in_place=True)
WINDOW = ("SUB160", (1201, 601), (160, 160))


def finished(rate: Any, photom: Path, flat: Path | None) -> Any:
    """Run FlatFieldStep and PhotomStep with files."""
    from jwst.flatfield import FlatFieldStep
    from jwst.photom import PhotomStep

    if flat is not None:
        others = {f"override_{kind}": "N/A" for kind in ("fflat", "sflat", "dflat")}
        rate = FlatFieldStep.call(rate, override_flat=str(flat), **others)
    return PhotomStep.call(rate, override_photom=str(photom), override_area="N/A")


@pytest.fixture
def make_cal(exported: Exported, make_rate: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes a finished exposure, and the same with our files."""

    def make(path: Path, array: str, band: str, shape: tuple[int, int] | None = None) -> Any:
        subarray, start, window = WINDOW
        options = {"subarray": subarray, "start": start, "shape": shape or window}
        rate = make_rate(array, band, **options)
        rate.meta.ref_file.crds.context_used = "jwst_1130.pmap"
        has_flat = band == "F444W"
        plain = finished(
            rate.copy(), exported.parents[array], exported.flat_parents[array] if has_flat else None
        )
        plain.save(str(path))
        photom = exported.photom.get(array, exported.parents[array])
        return plain, finished(rate, photom, exported.flat[array] if has_flat else None)

    return make


@pytest.mark.parametrize(
    ("array", "band"),
    [("nrcalong", "F444W"), ("nrcblong", "F444W"), ("nrca1", "F200W"), ("nrca3", "F200W")],
)
def test_apply_is_the_pipeline_run_again(
    array: str, band: str, exported: Exported, make_cal: Callable[..., Any], tmp_path: Path
) -> None:
    from stdatamodels.jwst import datamodels

    path = tmp_path / f"{array}_cal.fits"
    plain, expected = make_cal(path, array, band)
    with Registry(exported.url) as registry:
        (outcome,) = registry.apply(path, IN_PLACE)
    assert outcome.origin == "measured"
    with datamodels.open(path) as found:
        for name in PLANES if band == "F444W" else PLANES[:-1]:
            ours = np.asarray(found[name])
            assert ours.dtype.newbyteorder("=") == expected[name].dtype
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(expected[name]))
            # Every step of the pipeline rounds to single precision.
            np.testing.assert_allclose(ours, expected[name], rtol=1e-6)
        np.testing.assert_array_equal(found.dq, expected.dq)
        changed = np.nanmax(np.abs(np.asarray(found.data) / plain.data - 1.0))
        assert changed > 1e-4, "the correction is not the identity"
        photometry, theirs = found.meta.photometry, expected.meta.photometry
        for name in ("conversion_megajanskys", "conversion_microjanskys"):
            assert getattr(photometry, name) == pytest.approx(getattr(theirs, name), rel=1e-6)
        assert photometry.conversion_megajanskys == fits.getval(path, "PHOTMJSR", "SCI")
        assert found.meta.bunit_data == "MJy/sr"
        assert found.meta.cal_step.photom == "COMPLETE"
        assert found.extra_fits.PRIMARY.header[0][:2] == ["CALREGID", outcome.set_id]


def test_the_other_datum_follows_its_files_too(
    exported: Exported, make_rate: Callable[..., Any], tmp_path: Path
) -> None:
    array, subarray, start, shape = "nrcalong", *WINDOW
    with Registry(exported.url) as registry:
        out: dict[str, Any] = {"overwrite": True, "gradient_datum": "B"}
        parents = [exported.flat_parents[array]]
        registry.export_photom(tmp_path / "p", pmap="1130", cache=exported.cache.path, **out)
        registry.export_flat(tmp_path / "f", pmap="1130", parents=parents, **out)
        rate = make_rate(array, "F444W", subarray=subarray, start=start, shape=shape)
        rate.meta.ref_file.crds.context_used = "jwst_1130.pmap"
        path = tmp_path / "a_cal.fits"
        plain = finished(rate.copy(), exported.parents[array], parents[0])
        plain.save(str(path))
        photom, flat = (
            tmp_path / "p" / exported.photom[array].name,
            tmp_path / "f" / exported.flat[array].name,
        )
        expected = finished(rate, photom, flat)
        registry.apply(path, ApplyOptions(is_in_place=True, gradient_datum=GradientDatum.B))
    with fits.open(path) as hdus:
        np.testing.assert_allclose(hdus["SCI"].data, expected.data, rtol=1e-6)
        np.testing.assert_allclose(hdus["VAR_FLAT"].data, expected.var_flat, rtol=1e-6)


def test_apply_then_undo_is_the_identity(
    exported: Exported, make_cal: Callable[..., Any], tmp_path: Path
) -> None:
    from stdatamodels.jwst import datamodels

    path = tmp_path / "nrcalong_cal.fits"
    make_cal(path, "nrcalong", "F444W")
    headers, tree = raw_headers(path), tree_of(path)
    with datamodels.open(path) as model:
        before = {name: np.array(model[name]) for name in (*PLANES, "dq")}
        photometry = model.meta.photometry.instance.copy()
    with Registry(exported.url) as registry:
        registry.apply(path, IN_PLACE)
        assert raw_headers(path) != headers
        registry.undo(path)
    assert raw_headers(path) == headers
    assert tree_of(path) == tree
    with datamodels.open(path) as model:
        assert model.meta.photometry.instance == photometry
        for name in PLANES:
            finite = np.isfinite(before[name])
            assert ulps(np.asarray(model[name])[finite], before[name][finite]) <= 1
        np.testing.assert_array_equal(model.dq, before["dq"])


def test_a_corrected_exposure_goes_on_through_the_pipeline(
    exported: Exported, make_cal: Callable[..., Any], tmp_path: Path
) -> None:
    """Saved again by the pipeline's own models, it still says what it is, and can be restored."""
    from stdatamodels.jwst import datamodels

    path = tmp_path / "nrcalong_cal.fits"
    plain, _ = make_cal(path, "nrcalong", "F444W")
    saved = tmp_path / "again_cal.fits"
    with Registry(exported.url) as registry:
        registry.apply(path, IN_PLACE)
        with datamodels.open(path) as model:
            model.save(str(saved))
        assert registry.check_files(saved).rows[0].correction == "applied"
        with pytest.raises(ValueError, match="was corrected with set"):
            registry.apply(saved, IN_PLACE)
        registry.undo(saved)
    with datamodels.open(saved) as model:
        finite = np.isfinite(plain.data)
        assert ulps(np.asarray(model.data)[finite], plain.data[finite]) <= 1
        assert model.meta.photometry.conversion_megajanskys == pytest.approx(
            plain.meta.photometry.conversion_megajanskys, rel=1e-7
        )
        header = fits.getheader(saved)
        assert not [card for card in header if card.startswith("CALREG")]
