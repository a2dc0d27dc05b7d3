"""The table of NIRCam, against pysiaf and against itself."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from calreg.errors import InvalidValueError, UnknownKeyError
from calreg.instruments import load_instrument

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pysiaf warns that it cannot look for a newer database
    import pysiaf

NIRCAM = load_instrument()


@pytest.fixture(scope="module")
def siaf() -> Any:
    """Return the SIAF of NIRCam."""
    return pysiaf.Siaf("NIRCam")


def test_the_table_names_the_database_that_pysiaf_ships() -> None:
    assert NIRCAM.prd == pysiaf.JWST_PRD_VERSION


@pytest.mark.parametrize("array", list(NIRCAM.arrays.values()), ids=lambda array: array.name)
def test_geometry_is_that_of_the_siaf(array: Any, siaf: Any) -> None:
    aperture = siaf[array.aperture]
    assert array.v2_ref_arcsec == pytest.approx(aperture.V2Ref, abs=1e-6)
    assert array.v3_ref_arcsec == pytest.approx(aperture.V3Ref, abs=1e-6)
    assert array.v3_ideal_y_angle_deg == pytest.approx(aperture.V3IdlYAngle, abs=1e-7)
    assert array.v_ideal_parity == aperture.VIdlParity
    assert array.x_scale_arcsec == pytest.approx(aperture.XSciScale, abs=1e-8)
    assert array.y_scale_arcsec == pytest.approx(aperture.YSciScale, abs=1e-8)
    assert array.n_pixels == aperture.XSciSize == aperture.YSciSize
    assert array.ref_pixel == aperture.XSciRef == aperture.YSciRef


def test_ten_arrays_pair_up() -> None:
    assert len(NIRCAM.arrays) == 10
    for array in NIRCAM.arrays.values():
        partner = NIRCAM.partner(array)
        assert (partner.array_id, partner.channel) == (array.array_id, array.channel)
        assert {partner.module, array.module} == set(NIRCAM.modules)
        assert NIRCAM.array(array.detector) is array
    assert {array.array_id for array in NIRCAM.arrays.values()} == set(NIRCAM.array_ids)


def test_every_band_is_found_by_its_pair() -> None:
    for band in NIRCAM.bands.values():
        assert NIRCAM.band(band.filter.lower(), band.pupil) is band
        assert NIRCAM.band_named(band.name.lower()) is band
    assert NIRCAM.band("F444W", "F470N").name == "F470N"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownKeyError, match="unknown detector 'NRCC1'"):
        NIRCAM.array("NRCC1")
    with pytest.raises(UnknownKeyError, match="unknown band 'F999W'"):
        NIRCAM.band_named("F999W")
    with pytest.raises(InvalidValueError, match="FILTER='F444W' with PUPIL='GRISMR'"):
        NIRCAM.band("F444W", "GRISMR")
    with pytest.raises(InvalidValueError, match="not an imaging passband"):
        NIRCAM.band("F200W", "F470N")
    with pytest.raises(UnknownKeyError, match="no instrument table named 'miri'"):
        load_instrument("miri")


def test_keywords_have_usable_bounds() -> None:
    for keyword in NIRCAM.keywords.values():
        assert keyword.hdu in {"PRIMARY", "SCI"}
        assert keyword.type in {"str", "float", "int"}
        assert keyword.type != "str" or keyword.min is keyword.max is None
        assert keyword.min is None or keyword.max is None or keyword.min < keyword.max
