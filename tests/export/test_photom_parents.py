"""Photom files that cannot be the parent of a corrected one are refused, with nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits

from calreg import Registry
from calreg.errors import (
    CalregError,
    FileFormatError,
    HeaderValueError,
    InvalidValueError,
    UnsupportedDataError,
)
from support.crdsfiles import NIRCAM, write_photom_parent
from support.programmes import PMAP
from support.referencesets import EXTRA_ROWS, write_parents
from support.registryrows import deliveries

if TYPE_CHECKING:
    from collections.abc import Callable


CORRECTED = ["nrca1", "nrca2", "nrca3", "nrca4", "nrcalong"]


@pytest.fixture
def parents(small_url: str, tmp_path: Path) -> dict[str, Path]:
    """Return the photom file of every array."""
    return write_parents(small_url, PMAP, tmp_path / "parents")


NRCA1_VALUES = {("F200W", "CLEAR"): 1.964, **EXTRA_ROWS["SW"]}


def changed_table(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Change the table of a photom file."""
    with fits.open(path) as opened:
        primary, table = opened[0].copy(), change(np.array(opened["PHOTOM"].data))
    hdus = [primary, fits.BinTableHDU(table, name="PHOTOM")]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(table: np.ndarray) -> np.ndarray:
        table["photmjsr"][table["filter"] == b"F200W"] = value
        return table

    return change


REFUSED: list[tuple[dict[str, object], type[CalregError], str]] = [
    ({"PEDIGREE": "GROUND"}, UnsupportedDataError, "a file from before flight"),
    ({"DATAMODL": "NrcWfssPhotomModel"}, UnsupportedDataError, "DATAMODL is 'NrcWfssPhotomModel'"),
    ({"DATAMODL": None}, UnsupportedDataError, "DATAMODL is ''; expected 'NrcImgPhotomModel'"),
    ({"INSTRUME": "NIRISS"}, UnsupportedDataError, "INSTRUME is 'NIRISS'"),
    ({"REFTYPE": "FLAT"}, UnsupportedDataError, "REFTYPE is 'FLAT'; expected 'PHOTOM'"),
    (
        {"EXP_TYPE": "NRC_WFSS", "P_EXP_TY": "NRC_WFSS|NRC_GRISM|"},
        UnsupportedDataError,
        "made for EXP_TYPE NRC_GRISM, NRC_WFSS; expected one for imaging",
    ),
    ({"DETECTOR": "NRS1"}, UnsupportedDataError, "DETECTOR: unknown detector 'NRS1'"),
    ({"PIXAR_SR": None}, HeaderValueError, "PIXAR_SR is None; expected a positive number"),
]


@pytest.mark.parametrize(("cards", "error", "message"), REFUSED)
def test_parents_of_another_kind_are_refused(
    cards: dict[str, object],
    error: type[CalregError],
    message: str,
    small_url: str,
    tmp_path: Path,
) -> None:
    path = write_photom_parent(
        tmp_path / "parent.fits", NIRCAM.arrays["nrca1"], NRCA1_VALUES, cards=cards
    )
    with Registry(small_url) as registry, pytest.raises(error, match=message) as caught:
        registry.export_photom(tmp_path / "out", pmap=PMAP, parents=[path])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


BAD_TABLES: list[tuple[Callable[[np.ndarray], np.ndarray], type[CalregError], str]] = [
    (with_value(np.nan), InvalidValueError, "photmjsr of F200W CLEAR is nan"),
    (with_value(0.0), InvalidValueError, "photmjsr of F200W CLEAR is 0"),
    (with_value(2.1), InvalidValueError, r"is 2\.1, but exposures of nrca1 .* PHOTMJSR 1\.964"),
    (lambda t: np.concatenate([t, t[:1]]), FileFormatError, "two rows of F200W CLEAR FULL"),
    (lambda t: t[t["filter"] != b"F200W"], InvalidValueError, "no row with filter F200W and pupil"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD_TABLES)
def test_parents_with_other_rows_are_refused(
    change: Callable[[np.ndarray], np.ndarray],
    error: type[CalregError],
    message: str,
    small_url: str,
    parents: dict[str, Path],
    tmp_path: Path,
) -> None:
    changed_table(parents["nrca1"], change)
    named = [parents[name] for name in CORRECTED]
    with Registry(small_url) as registry, pytest.raises(error, match=message):
        registry.export_photom(tmp_path / "out", pmap=PMAP, parents=named)
    assert not (tmp_path / "out").exists()
    assert deliveries(small_url) == []


def test_a_parent_for_an_array_that_is_not_corrected(
    small_url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    named = [parents[name] for name in [*CORRECTED, "nrcb1"]]
    with (
        Registry(small_url) as registry,
        pytest.raises(InvalidValueError, match="is for NRCB1, which is not corrected"),
    ):
        registry.export_photom(tmp_path / "out", pmap=PMAP, parents=named)


def test_missing_and_ambiguous_parents(
    small_url: str, parents: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "parents"
    with Registry(small_url) as registry:
        other = shutil.copy(parents["nrca1"], folder / "copy.fits")
        # Of several, the one that the exposures name.
        registry.export_photom(tmp_path / "out", pmap=PMAP, parents=[folder])
        history = list(
            fits.getheader(tmp_path / "out" / "jwst_nircam_photom_calreg1130_nrca1.fits")["HISTORY"]
        )
        assert f"Parent {parents['nrca1'].name} of A. Calibrator" in history
        parents["nrca1"].rename(folder / "another.fits")
        with pytest.raises(InvalidValueError, match=r"2 parents for nrca1: another\.fits, copy"):
            registry.export_photom(tmp_path / "new", pmap=PMAP, parents=[folder])
        Path(other).unlink()
        (folder / "another.fits").unlink()
        write_photom_parent(
            folder / "ground.fits",
            NIRCAM.arrays["nrca1"],
            NRCA1_VALUES,
            cards={"PEDIGREE": "GROUND"},
        )
        with pytest.raises(InvalidValueError, match=r"no parent for nrca1 .*before flight"):
            registry.export_photom(tmp_path / "new", pmap=PMAP, parents=[folder])
        with pytest.raises(FileFormatError, match=r"nowhere\.fits"):
            registry.export_photom(tmp_path / "new", pmap=PMAP, parents=[folder / "nowhere.fits"])
    assert not (tmp_path / "new").exists()


def test_the_genuine_grism_file_from_before_flight_is_refused(
    small_url: str, shared_data: Path, tmp_path: Path
) -> None:
    path = shared_data / "jwst_nircam_photom_0064.fits"
    with (
        Registry(small_url) as registry,
        pytest.raises(UnsupportedDataError, match=r"photom_0064.fits: DATAMODL is 'NrcWfssPhotom"),
    ):
        registry.export_photom(tmp_path / "out", pmap=PMAP, parents=[path])
