"""AB magnitudes from fluxes, and where they come from otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from calreg.domain import Catalog, FluxKind
from calreg.errors import CatalogColumnError
from calreg.science.photometry.calibrate import calibrate_catalog

PIXAR_SR = 2.29e-14


def make_catalog(
    *,
    flux: list[float],
    flux_err: list[float] | None = None,
    flux_unit: str = "image",
    mag: list[float] | None = None,
    mag_err: list[float] | None = None,
) -> Catalog:
    unknown = np.full(len(flux), np.nan)
    zeros = np.zeros(len(flux))
    return Catalog(
        file_name="s.cat",
        directory="/data",
        file_sha256="0" * 64,
        file_size_bytes=1,
        image_name="",
        detection_image_name="",
        software="",
        flux_kind=FluxKind.ISO,
        aperture="",
        settings={},
        number=np.arange(1, len(flux) + 1),
        ra_deg=zeros,
        dec_deg=zeros,
        x=np.where(np.array(flux) > 90.0, np.inf, 1.0),
        y=zeros,
        flux=np.array(flux),
        flux_err=unknown if flux_err is None else np.array(flux_err),
        flux_unit=flux_unit,
        mag=unknown if mag is None else np.array(mag),
        mag_err=unknown if mag_err is None else np.array(mag_err),
        flags=np.zeros(len(flux), dtype=np.int64),
    )


def test_fluxes_of_an_image_in_mjy_per_sr() -> None:
    # 1 MJy/sr over 2.29e-14 sr is 2.29e-8 Jy: AB = 8.90 - 2.5 log10(2.29e-8) = 28.0004
    found = calibrate_catalog(
        make_catalog(flux=[1.0, 100.0, -1.0], flux_err=[0.01, 0.1, 0.1]),
        bunit="MJy/sr",
        pixar_sr=PIXAR_SR,
    )
    detections = found.detections
    np.testing.assert_allclose(detections.flux_ujy, [0.0229, 2.29, -0.0229], rtol=1e-14)
    np.testing.assert_allclose(detections.mag_ab[:2], [28.00041, 23.00041], rtol=0, atol=5e-6)
    # 2.5 / ln 10 of a per cent, and of a per mille.
    np.testing.assert_allclose(detections.mag_err[:2], [0.01085736, 0.001085736], rtol=1e-6)
    assert np.isnan(detections.mag_ab[2])
    assert np.isnan(detections.mag_err[2])
    assert np.isnan(detections.x).tolist() == [False, True, False]
    assert (found.mag_origin, found.mag_disagreement, found.n_disagreeing) == ("flux", None, 0)


def test_microjansky_need_no_image() -> None:
    found = calibrate_catalog(
        make_catalog(flux=[1.0], flux_err=[0.1], flux_unit="uJy"), bunit="DN/s", pixar_sr=None
    )
    assert found.detections.mag_ab.tolist() == [23.9]


def test_disagreement_is_the_median_of_finite_rows() -> None:
    found = calibrate_catalog(
        make_catalog(
            flux=[1.0, 1.0, 1.0, -1.0, 1.0],
            flux_err=[0.1] * 5,
            flux_unit="uJy",
            mag=[23.9, 23.8985, 23.9009, 99.0, np.nan],
        ),
        bunit="MJy/sr",
        pixar_sr=PIXAR_SR,
    )
    # computed - stated: 0, +0.0015, -0.0009
    assert found.mag_disagreement == pytest.approx(0.0, abs=1e-12)
    assert found.n_disagreeing == 1


@pytest.mark.parametrize(("bunit", "pixar_sr"), [("MJy/sr", None), ("10.0*nanoJansky", PIXAR_SR)])
def test_magnitudes_stand_in_where_fluxes_cannot_be_read(
    bunit: str, pixar_sr: float | None
) -> None:
    found = calibrate_catalog(
        make_catalog(flux=[5.0, 5.0], mag=[20.0, np.nan], mag_err=[0.01, np.nan]),
        bunit=bunit,
        pixar_sr=pixar_sr,
    )
    assert found.mag_origin == "catalog"
    assert found.detections.mag_ab[0] == 20.0
    np.testing.assert_allclose(found.detections.flux_ujy[0], 10 ** (0.4 * 3.9), rtol=1e-14)
    # 0.01 mag is 0.921 per cent.
    ratio = found.detections.flux_err_ujy[0] / found.detections.flux_ujy[0]
    assert ratio == pytest.approx(0.0092103, abs=1e-7)


def test_neither_flux_nor_magnitude() -> None:
    with pytest.raises(CatalogColumnError, match="image in DN/s with PIXAR_SR=missing"):
        calibrate_catalog(make_catalog(flux=[5.0]), bunit="DN/s", pixar_sr=None)


def test_overflow_is_unknown() -> None:
    found = calibrate_catalog(
        make_catalog(flux=[np.nan], mag=[-9999.0], mag_err=[0.1]), bunit="", pixar_sr=None
    )
    assert np.isnan(found.detections.flux_ujy).all()
    found = calibrate_catalog(
        make_catalog(flux=[1e-320], flux_err=[1.0], flux_unit="uJy"), bunit="", pixar_sr=None
    )
    assert np.isnan(found.detections.mag_err).all()
