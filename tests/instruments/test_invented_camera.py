"""Another camera, from its table alone: ingested, fitted, asked, exported and applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits

from calreg import Registry
from calreg.apply.options import ApplyOptions
from calreg.files.exchange.recipe import read_recipe
from calreg.ingest.options import IngestOptions
from support import inventedcamera as duocam

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def filled(empty_db_url: str, tmp_path: Path) -> tuple[str, list[Path]]:
    """Return a registry of the camera with two epochs in it, and its exposures."""
    table = duocam.write_table(tmp_path / "duocam.toml")
    with Registry.create(empty_db_url, instrument=str(table)) as registry:
        exposures = duocam.write_programme(tmp_path, registry.instrument)
        report = registry.ingest(exposures)
        assert (len(report.loaded), report.refused) == (6, [])
        for path in exposures:
            options = IngestOptions(image=path)
            report = registry.ingest(path.with_suffix(".csv"), options)
            assert (len(report.loaded), report.refused) == (1, [])
    return empty_db_url, exposures


def test_a_camera_needs_its_table_and_nothing_else(
    filled: tuple[str, list[Path]], tmp_path: Path
) -> None:
    url, exposures = filled
    with Registry(url) as registry:
        assert registry.instrument.name == "DUOCAM"
        report = registry.refit()
        assert len(report.fitted) == 1
        (row,) = registry.coefficients(band="green", array_id="DUOA1")
        assert (row.band, row.array_id, row.pmap) == ("GREEN", "1", duocam.PMAP)
        assert row.n_pairs > 100
        assert abs(row.offset_ab_mag - duocam.OFFSET_MAG) < 4.0 * row.offset_ab_err_mag < 0.002
        assert [one.set_id for one in registry.history(duocam.BAND, "1")] == [row.set_id]

        recipe = tmp_path / "recipe.ecsv"
        registry.export_recipe(recipe, pmap=duocam.PMAP)
        (line,) = read_recipe(recipe, registry.instrument).rows
        assert line.offset_ab_mag == pytest.approx(row.offset_ab_mag, abs=1e-9)

        out = tmp_path / "corrected"
        faint = exposures[0]
        registry.apply([faint], ApplyOptions(out=out))
    factor = 10.0 ** (0.4 * row.offset_ab_mag)
    before, after = duocam.cards_of(faint), duocam.cards_of(out / faint.name)
    assert after["FLUXCONV"] == pytest.approx(before["FLUXCONV"] * factor, rel=1e-7)
    assert "PHOTMJSR" not in after
    old, new = fits.getdata(faint, "SCI"), fits.getdata(out / faint.name, "SCI")
    np.testing.assert_allclose(new, old * factor, rtol=1e-6)


def test_check_reads_the_cameras_own_cards(filled: tuple[str, list[Path]]) -> None:
    url, exposures = filled
    with Registry(url) as registry:
        report = registry.check_files(exposures)
    assert {row.photmjsr for row in report.rows} == set(duocam.PHOTMJSR.values())


def test_refusals_name_the_cameras_cards(empty_db_url: str, tmp_path: Path) -> None:
    table = duocam.write_table(tmp_path / "duocam.toml")
    with Registry.create(empty_db_url, instrument=str(table)) as registry:
        path, *others = duocam.write_programme(tmp_path, registry.instrument)
        for card, value in (("CHIPNAME", "NRCA1"), ("WHEEL1", "BLUE"), ("OBSMODE", "DUO_GRISM")):
            bad = tmp_path / f"{card.lower()}_cal.fits"
            bad.write_bytes(path.read_bytes())
            fits.setval(bad, card, value=value)
            (refused,) = registry.ingest(bad).refused
            assert card in refused.message
            assert value in refused.message
            assert duocam.names_of_nircam(refused.message) in ([], ["NRCA1"])
        # Arrays that the camera has without a partner are stored, and never compared.
        registry.ingest(others)
