"""Catalogs of the jwst pipeline (`_cat.ecsv`) and of photutils, old and new names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.utils.masked import Masked

from calreg.domain import FluxKind
from calreg.errors import CatalogColumnError
from calreg.files.catalogs.read import read_catalog
from calreg.files.recognise import recognise

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.domain import Catalog

N_ROWS = 12


def make_positions() -> QTable:
    rng = np.random.default_rng(3)
    return QTable(
        {
            "id": np.arange(1, N_ROWS + 1),
            "ra": rng.uniform(265.0, 265.1, N_ROWS) * u.deg,
            "dec": rng.uniform(68.9, 69.0, N_ROWS) * u.deg,
        }
    )


def read(path: Path, **options: Any) -> Catalog:
    return read_catalog(path, recognise(path), **options)


def make_jwst(*, x_name: str = "xcentroid", y_name: str = "ycentroid") -> QTable:
    """Make a table with the columns, units and metadata of the pipeline's source_catalog step."""
    rng = np.random.default_rng(4)
    flux = rng.uniform(1e-6, 9e-6, N_ROWS)
    sky = SkyCoord(rng.uniform(0.0, 1.0, N_ROWS), rng.uniform(-1.0, 1.0, N_ROWS), unit="deg")
    table = QTable(
        {
            "label": np.arange(1, N_ROWS + 1, dtype=np.int32),
            x_name: rng.uniform(0.0, 2000.0, N_ROWS) * u.pix,
            y_name: rng.uniform(0.0, 2000.0, N_ROWS) * u.pix,
            "sky_centroid": sky,
            "aper_bkg_flux": np.zeros(N_ROWS) * u.Jy,
            "aper_bkg_flux_err": np.zeros(N_ROWS) * u.Jy,
        }
    )
    for name, factor in (("aper30", 0.3), ("aper50", 0.5), ("aper_total", 1.2), ("isophotal", 1.0)):
        table[f"{name}_flux"] = factor * flux * u.Jy
        table[f"{name}_flux_err"] = 0.01 * factor * flux * u.Jy
        table[f"{name}_abmag"] = 8.90 - 2.5 * np.log10(factor * flux)
        table[f"{name}_abmag_err"] = np.full(N_ROWS, 0.0109)
        table[f"{name}_vegamag"] = table[f"{name}_abmag"] - 3.2
    table.meta["versions"] = {"Python": "3.11", "photutils": "1.9.0", "jwst": "1.12.5"}
    table.meta["aperture_params"] = {"aperture_radii": [1.0, 2.0, 3.0], "aperture_ee": [30, 50, 70]}
    return table


@pytest.mark.parametrize("names", [("xcentroid", "ycentroid"), ("x_centroid", "y_centroid")])
def test_jwst_catalog(tmp_path: Path, names: tuple[str, str]) -> None:
    table = make_jwst(x_name=names[0], y_name=names[1])
    path = tmp_path / "jw01176-o241_t001_nircam_clear-f444w_cat.ecsv"
    table.write(path)
    catalog = read(path)
    np.testing.assert_array_equal(catalog.number, table["label"])
    np.testing.assert_allclose(catalog.ra_deg, table["sky_centroid"].ra.deg, rtol=0, atol=1e-12)
    np.testing.assert_allclose(catalog.dec_deg, table["sky_centroid"].dec.deg, rtol=0, atol=1e-12)
    # photutils counts pixels from 0 already.
    np.testing.assert_array_equal(catalog.x, table[names[0]].value)
    np.testing.assert_array_equal(catalog.y, table[names[1]].value)
    np.testing.assert_allclose(catalog.flux, table["isophotal_flux"].value * 1e6, rtol=1e-14)
    np.testing.assert_array_equal(catalog.mag, table["isophotal_abmag"])
    assert (catalog.flux_kind, catalog.flux_unit) == (FluxKind.ISO, "uJy")
    assert catalog.software == "jwst 1.12.5"
    assert catalog.settings["aperture_params.aperture_ee"] == "30 50 70"
    assert catalog.image_name == ""


@pytest.mark.parametrize(
    ("aperture", "label", "column"),
    [
        ("", "ee30", "aper30"),
        ("50", "ee50", "aper50"),
        ("ee50", "ee50", "aper50"),
        ("total", "total", "aper_total"),
    ],
)
def test_jwst_apertures(tmp_path: Path, aperture: str, label: str, column: str) -> None:
    table = make_jwst()
    path = tmp_path / "a_cat.ecsv"
    table.write(path)
    catalog = read(path, flux=FluxKind.APER, aperture=aperture)
    assert catalog.aperture == label
    np.testing.assert_allclose(catalog.flux, table[f"{column}_flux"].value * 1e6, rtol=1e-14)
    np.testing.assert_array_equal(catalog.mag, table[f"{column}_abmag"])


@pytest.mark.parametrize(
    ("value", "error", "kind"),
    [
        ("segment_flux", "segment_fluxerr", FluxKind.ISO),
        ("segment_flux", "segment_flux_err", FluxKind.ISO),
        ("kron_flux", "kron_fluxerr", FluxKind.AUTO),
        ("kron_flux", "kron_flux_err", FluxKind.AUTO),
        ("flux_fit", "flux_err", FluxKind.PSF),
        ("aperture_sum", "aperture_sum_err", FluxKind.APER),
    ],
)
def test_photutils_names(tmp_path: Path, value: str, error: str, kind: FluxKind) -> None:
    table = make_positions()
    table[value] = np.linspace(1.0, 2.0, N_ROWS) * u.MJy / u.sr
    table[error] = np.full(N_ROWS, 0.1) * u.MJy / u.sr
    path = tmp_path / "a.ecsv"
    table.write(path)
    catalog = read(path)
    assert (catalog.flux_kind, catalog.flux_unit) == (kind, "image")
    np.testing.assert_array_equal(catalog.flux, np.linspace(1.0, 2.0, N_ROWS))
    assert "flux_kind" not in catalog.settings


def test_exploded_apertures_are_numbered_from_one(tmp_path: Path) -> None:
    # STILTS spreads FLUX_APER to FLUX_APER_1 ..., astropy to FLUX_APER, FLUX_APER_1 ...
    table = make_positions()
    for i in (1, 2):
        table[f"FLUX_APER_{i}"] = np.full(N_ROWS, float(i))
        table[f"FLUXERR_APER_{i}"] = np.full(N_ROWS, 0.1)
    path = tmp_path / "a.ecsv"
    table.write(path)
    first, second = (read(path, flux=FluxKind.APER, aperture=label) for label in "12")
    assert (first.flux[0], second.flux[0]) == (1.0, 2.0)


def test_two_kinds_without_iso_want_a_choice(tmp_path: Path) -> None:
    table = make_positions()
    for name in ("kron_flux", "kron_flux_err", "flux_fit", "flux_err"):
        table[name] = np.ones(N_ROWS) * u.Jy
    path = tmp_path / "a.ecsv"
    table.write(path)
    with pytest.raises(CatalogColumnError, match="--flux auto or --flux psf"):
        read(path)
    assert read(path, flux=FluxKind.PSF).flux_kind is FluxKind.PSF


def test_mapping_a_known_name_tells_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "a_cat.ecsv"
    make_jwst().write(path)
    columns = {"mag": "aper50_abmag", "mag_err": "aper50_abmag_err"}
    catalog = read(path, columns=columns)
    assert (catalog.flux_kind, catalog.aperture) == (FluxKind.APER, "ee50")
    with pytest.raises(CatalogColumnError, match="which is aper flux, but --flux iso"):
        read(path, columns=columns, flux=FluxKind.ISO)


def test_masked_quantities_and_sky(tmp_path: Path) -> None:
    table = make_jwst()
    flux = Masked(table["isophotal_flux"], mask=np.arange(N_ROWS) == 4)
    table["isophotal_flux"] = flux
    path = tmp_path / "a_cat.ecsv"
    table.write(path)
    catalog = read(path)
    assert catalog.n_dropped_nonfinite == 1
    assert 5 not in catalog.number
    np.testing.assert_allclose(catalog.flux[:4], flux.unmasked[:4].to_value("uJy"), rtol=1e-14)
