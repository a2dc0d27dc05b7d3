"""Strict validation by stdatamodels and certify by crds: no error on any kind; they can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from astropy.io import fits

from calreg import Registry
from calreg.errors import OutputError
from calreg.files.references.certify import _write_cache, check_with_packages
from calreg.simulation.files import write_programme
from support.crdsfiles import NIRCAM
from support.fitsimages import write_image
from support.programmes import PMAP, small_programme

if TYPE_CHECKING:
    from pathlib import Path

    Exported = Any

MODELS = {"photom": "NrcImgPhotomModel", "flat": "FlatModel"}


def certify_errors(paths: list[Path], folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Certify files in this process, as users do, and return the number of errors."""
    _write_cache(folder / "certify")
    monkeypatch.setenv("CRDS_PATH", str(folder / "certify"))
    monkeypatch.setenv("CRDS_IGNORE_MAPPING_CHECKSUM", "1")
    from crds.certify import certify
    from crds.core import log

    log.reset()
    certify.certify_files(
        [str(path) for path in paths], "jwst_0001.pmap", observatory="jwst", check_rmap=False
    )
    return int(log.errors())


def validate(path: Path, model: str) -> None:
    """Open a file with strict validation."""
    from stdatamodels.jwst import datamodels

    with getattr(datamodels, model)(path, strict_validation=True) as opened:
        opened.validate()


def test_every_export_was_checked_by_both(exported: Exported) -> None:
    for report in exported.reports.values():
        assert [name.split()[0] for name in report.checkers] == ["stdatamodels", "crds"]


def test_every_kind_passes(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photom copy, photom without parent, product, delta flat, and a cut-out of one."""
    written = write_programme(small_programme(), tmp_path / "exposures")
    like = write_image(
        tmp_path / "x_cal.fits",
        primary={"SUBARRAY": "SUB160", "SUBSTRT1": 1000, "SUBSTRT2": 500,
                 "SUBSIZE1": 160, "SUBSIZE2": 160},
    )  # fmt: skip
    with Registry(exported.url) as registry:
        registry.ingest([path for path in written if path.name.endswith("_cal.fits")])
        made = registry.export_photom(tmp_path / "made", pmap=PMAP, all_arrays=True)
        cut = registry.export_flat(tmp_path / "cut", pmap=PMAP, like=like)
    photoms = [*exported.photom.values(), *(one.path for one in made.deliveries)]
    flats = [
        *exported.flat.values(),
        *exported.delta.values(),
        *(one.path for one in cut.deliveries),
    ]
    assert (len(photoms), len(flats)) == (5 + 10, 6)
    assert fits.getdata(flats[-1], "SCI").shape == (160, 160)
    for path in photoms:
        validate(path, MODELS["photom"])
    for path in flats:
        validate(path, MODELS["flat"])
    assert certify_errors([*photoms, *flats], tmp_path, monkeypatch) == 0


DEFECTS: dict[str, dict[str, str | None]] = {
    "no PEDIGREE": {"PEDIGREE": None},
    "another PEDIGREE": {"PEDIGREE": "FOUND"},
    "no USEAFTER": {"USEAFTER": None},
    "another DETECTOR": {"DETECTOR": "NRCA9"},
    "another EXP_TYPE": {"EXP_TYPE": "NRC_PICTURE"},
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_what_they_refuse_is_not_delivered(defect: str, exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "jwst_nircam_photom_bad.fits"
    with fits.open(exported.photom["nrca1"]) as opened:
        for keyword, value in DEFECTS[defect].items():
            if value is None:
                del opened[0].header[keyword]
            else:
                opened[0].header[keyword] = value
        opened.writeto(path)
    with pytest.raises(OutputError, match=r"stdatamodels|crds certify") as caught:
        check_with_packages({path.name: path}, {path.name: MODELS["photom"]})
    assert len(str(caught.value).splitlines()) == 1


def test_the_arrays_are_known_to_certify(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The errors are counted: one of five files has a detector that does not exist."""
    paths = []
    for name, path in exported.photom.items():
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes())
        if name == "nrca3":
            fits.setval(copy, "DETECTOR", value="NRCA9")
        paths.append(copy)
    assert len(paths) == len([a for a in NIRCAM.arrays.values() if a.module == "A"])
    assert certify_errors(paths, tmp_path, monkeypatch) >= 1
