"""Mosaics in the registry: what is made, stored, found made, and refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from astropy.io import fits
from astropy.wcs import WCS

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import GridRow
from calreg.domain import Pmap
from calreg.errors import RefusedFilesError
from calreg.mosaicplan import MosaicOptions
from calreg.science.grids import Grid, offset_between
from mosaicexposures import DITHERS_ARCSEC, PHOTMJSR, Scene, write_epoch, write_exposure
from synthetic import contents, exposure_rows, ingest_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.mosaic import MosaicReport

N_MEMBERS = len(DITHERS_ARCSEC)
FIRST_NAME = "jwidf_2022-07-08_nrcalong_f444w_jwst_1130_i2d.fits"


def make(url: str, paths: Sequence[Path], options: MosaicOptions) -> MosaicReport:
    with Registry(url) as registry:
        return registry.mosaic(paths, options)


def refusals(url: str, paths: Sequence[Path], options: MosaicOptions) -> tuple[str, ...]:
    """Return why nothing is made, and check that nothing is left of it."""
    before = contents(url)
    with pytest.raises(RefusedFilesError) as caught:
        make(url, paths, options)
    assert contents(url) == before
    assert all("\n" not in reason for reason in caught.value.reasons)
    assert files_in(options.out) == []
    return caught.value.reasons


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def grid_of(path: Path) -> Grid:
    with fits.open(path) as hdus:
        return Grid.from_wcs(WCS(hdus["SCI"].header), hdus["SCI"].data.shape)


@pytest.fixture(scope="module")
def epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two epochs, half a turn apart."""
    folder = tmp_path_factory.mktemp("exposures")
    for epoch in (1, 2):
        write_epoch(folder / f"epoch{epoch}", Scene(noise=0.002), epoch=epoch)
    return folder


def test_exposures_and_mosaic_enter_together(db_url: str, epochs: Path, tmp_path: Path) -> None:
    options = MosaicOptions(out=tmp_path / "out")
    (row,) = make(db_url, [epochs / "epoch1"], options).rows
    assert row.file == str(tmp_path / "out" / FIRST_NAME)
    assert (row.field, row.epoch, row.array, row.band, row.pmap, row.n_members) == (
        "JWIDF",
        "2022-07-08",
        "nrcalong",
        "F444W",
        "jwst_1130.pmap",
        N_MEMBERS,
    )
    assert row.exposure_time_s == N_MEMBERS * 500.0
    assert row.background == pytest.approx(0.2, abs=0.0005)
    stored = exposure_rows(db_url)
    assert [image["kind"] for image in stored] == ["cal"] * N_MEMBERS + ["i2d"]
    image = stored[-1]
    assert (image["file_name"], image["directory"]) == (FIRST_NAME, str(tmp_path / "out"))
    assert (image["n_members"], image["photmjsr"]) == (N_MEMBERS, PHOTMJSR)
    assert {image["epoch_id"] for image in stored} == {stored[0]["epoch_id"]}
    # The door of ingest finds all of it known.
    before = contents(db_url)
    report = ingest_all(db_url, [epochs / "epoch1", tmp_path / "out"])
    assert (len(report.unchanged), report.loaded, report.refused) == (N_MEMBERS + 1, [], [])
    assert contents(db_url) == before


def test_the_same_again_is_unchanged(db_url: str, epochs: Path, tmp_path: Path) -> None:
    options = MosaicOptions(out=tmp_path / "out")
    first = make(db_url, [epochs / "epoch1"], options)
    before, stamp = contents(db_url), (tmp_path / "out" / FIRST_NAME).stat()
    again = make(db_url, [epochs / "epoch1"], options)
    assert [row.status for row in (*first.rows, *again.rows)] == ["made", "unchanged"]
    assert contents(db_url) == before
    assert (tmp_path / "out" / FIRST_NAME).stat() == stamp


def test_epochs_share_the_grid_of_the_first(db_url: str, epochs: Path, tmp_path: Path) -> None:
    options = MosaicOptions(out=tmp_path)
    make(db_url, [epochs / "epoch1"], options)
    with open_database(db_url) as database, database.read() as connection:
        (stored,) = connection.execute(sa.select(GridRow.__table__)).mappings()
    report = make(db_url, [epochs / "epoch2"], options)
    with open_database(db_url) as database, database.read() as connection:
        assert connection.execute(sa.select(GridRow.__table__)).mappings().all() == [stored]
    first, second = (grid_of(path) for path in sorted(tmp_path.glob("*_i2d.fits")))
    assert (stored["scale_arcsec"], stored["band"]) == (0.06, "F444W")
    assert offset_between(first, second) is not None
    assert report.rows[0].epoch == "2023-01-04"


def test_no_store_leaves_the_registry(db_url: str, epochs: Path, tmp_path: Path) -> None:
    before = contents(db_url)
    out = tmp_path / "out"
    report = make(db_url, [epochs / "epoch1"], MosaicOptions(out=out, is_stored=False))
    assert contents(db_url) == before
    assert files_in(out) == [FIRST_NAME]
    assert not report.is_stored
    # What is there is entered by the next call, without new work.
    again = make(db_url, [epochs / "epoch1"], MosaicOptions(out=out))
    assert [row.status for row in again.rows] == ["unchanged"]
    assert len(exposure_rows(db_url)) == N_MEMBERS + 1


# --- scales -------------------------------------------------------------------------------------


def test_mixed_contexts_are_refused(db_url: str, tmp_path: Path) -> None:
    pmaps = ("jwst_1130.pmap", "jwst_1039.pmap", "jwst_1130.pmap")
    paths = [
        write_exposure(tmp_path, n, primary={"CRDS_CTX": pmap}, science={"PHOTMJSR": 0.4 + n % 2})
        for n, pmap in enumerate(pmaps)
    ]
    (reason,) = refusals(db_url, paths, MosaicOptions(out=tmp_path / "out"))
    names = [path.name for path in paths]
    assert reason == (
        "JWIDF 2022-07-08 nrcalong F444W: mixed contexts: "
        f"jwst_1039.pmap in {names[1]}; jwst_1130.pmap in {names[0]}, {names[2]}: expected one; "
        "--force-context PMAP rescales all to one, or give the files of one only"
    )


@pytest.mark.parametrize("card", ["PHOTMJSR", "PIXAR_SR"])
def test_mixed_scales_are_refused(db_url: str, tmp_path: Path, card: str) -> None:
    paths = [
        write_exposure(tmp_path, n, science={card: 2.0e-13 if n == 1 else 1.0e-13})
        for n in range(3)
    ]
    (reason,) = refusals(db_url, paths, MosaicOptions(out=tmp_path / "out"))
    names = [path.name for path in paths]
    assert f"mixed {card}: 1e-13 in {names[0]}, {names[2]}; 2e-13 in {names[1]}: " in reason


def test_a_forced_context(db_url: str, tmp_path: Path) -> None:
    """Exposures of two contexts that see one sky come out on the scale of the one that is named."""
    ratio = 1.25
    paths = [
        write_exposure(
            tmp_path,
            n,
            Scene(level=0.2 / (ratio if n % 2 else 1.0)),
            primary={"CRDS_CTX": "jwst_1039.pmap" if n % 2 else "jwst_1130.pmap"},
            science={"PHOTMJSR": PHOTMJSR / (ratio if n % 2 else 1.0)},
        )
        for n in range(4)
    ]
    options = MosaicOptions(out=tmp_path / "out", background=False, force_pmap=Pmap(1130))
    (row,) = make(db_url, paths, options).rows
    assert (row.pmap, row.photmjsr) == ("jwst_1130.pmap", PHOTMJSR)
    with fits.open(row.file) as hdus:
        assert hdus[0].header["FORCECTX"] == "jwst_1130.pmap"
        assert hdus[0].header["CRDS_CTX"] == "jwst_1130.pmap"
        assert hdus["SCI"].header["PHOTMJSR"] == PHOTMJSR
        sci = hdus["SCI"].data
        covered = sci[hdus["WHT"].data > 0]
        # The sky is uniform; a wrong factor would show at the edges of every dither.
        assert covered.min() == pytest.approx(0.2, rel=1e-5)
        assert covered.max() == pytest.approx(0.2, rel=1e-5)
        assert hdus["HDRTAB"].data["RESCALE"].tolist() == [1.0, ratio, 1.0, ratio]
        assert hdus["HDRTAB"].data["CTXINPUT"].tolist() == ["jwst_1130.pmap", "jwst_1039.pmap"] * 2
