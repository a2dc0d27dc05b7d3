"""Mosaics in the registry: what is made, stored, found made, and refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.io import fits
from astropy.wcs import WCS

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.queries.exposures import load_epochs
from calreg.db.queries.zeropoints import load_zero_points
from calreg.db.schema import GridRow
from calreg.domain import Pmap
from calreg.errors import RefusedFilesError
from calreg.files.images.exposurepixels import read_cal_world
from calreg.ingest.options import IngestOptions
from calreg.pixels.mosaic.plan import MosaicOptions
from calreg.science.sky.grids import Grid, offset_between
from support.mosaicexposures import (
    DITHERS_ARCSEC,
    N_PX,
    PHOTMJSR,
    Scene,
    pointing,
    write_epoch,
    write_exposure,
)
from support.synthetic import catalog_rows, contents, detections_of, exposure_rows, ingest_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.pixels.mosaic.mosaic import MosaicReport
    from support.fitsimages import CardTable

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


@pytest.mark.parametrize(("card", "value"), [("PHOTMJSR", 1.25), ("PIXAR_SR", 1.0e-13)])
def test_mixed_scales_are_refused(db_url: str, tmp_path: Path, card: str, value: float) -> None:
    paths = [
        write_exposure(tmp_path, n, science={card: 2.0 * value if n == 1 else value})
        for n in range(3)
    ]
    (reason,) = refusals(db_url, paths, MosaicOptions(out=tmp_path / "out"))
    names = [path.name for path in paths]
    assert (
        f"mixed {card}: {value:g} in {names[0]}, {names[2]}; {2.0 * value:g} in {names[1]}: "
    ) in reason


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


def test_a_context_that_the_registry_knows(db_url: str, tmp_path: Path) -> None:
    other = write_exposure(
        tmp_path, 9, primary={"CRDS_CTX": "jwst_1039.pmap"}, science={"PHOTMJSR": 0.5}
    )
    assert ingest_all(db_url, [other]).refused == []
    paths = [write_exposure(tmp_path, n) for n in (0, 1)]
    options = MosaicOptions(out=tmp_path / "out", background=False, force_pmap=Pmap(1039))
    (row,) = make(db_url, paths, options).rows
    assert (row.pmap, row.photmjsr) == ("jwst_1039.pmap", 0.5)
    assert row.file.endswith("_jwst_1039_i2d.fits")
    with fits.open(row.file) as hdus:
        assert np.nanmedian(hdus["SCI"].data) == pytest.approx(0.2 * 0.5 / PHOTMJSR, rel=1e-6)
        assert hdus[0].header["CRDS_CTX"] == "jwst_1039.pmap"
    # Rescaling adds no other value for the context.
    with open_database(db_url) as database, database.read() as connection:
        points = load_zero_points(connection)
    assert {(str(point.pmap), point.photmjsr) for point in points} == {
        ("jwst_1039.pmap", 0.5),
        ("jwst_1130.pmap", PHOTMJSR),
    }


# --- order, processes, places -----------------------------------------------------------------


def test_order_and_number_of_processes_do_not_matter(
    db_url: str, epochs: Path, tmp_path: Path
) -> None:
    paths = sorted(epochs.rglob("*_cal.fits"))
    written = {}
    for name, given, n_jobs in (("one", paths, 1), ("two", paths[::-1], 2)):
        options = MosaicOptions(out=tmp_path / name, n_jobs=n_jobs, is_stored=False)
        rows = make(db_url, given, options).rows
        assert [row.epoch for row in rows] == ["2022-07-08", "2023-01-04"]
        written[name] = {
            path.name: path.read_bytes() for path in (tmp_path / name).glob("*_i2d.fits")
        }
        assert len(written[name]) == 2
    assert written["one"] == written["two"]


def test_files_named_twice_are_one(db_url: str, epochs: Path, tmp_path: Path) -> None:
    folder = epochs / "epoch1"
    paths = [folder, *sorted(folder.iterdir()), folder / ".." / "epoch1"]
    (row,) = make(db_url, paths, MosaicOptions(out=tmp_path)).rows
    assert row.n_members == N_MEMBERS


def test_a_later_epoch_reaches_beyond_the_grid(db_url: str, tmp_path: Path) -> None:
    """The lattice goes on where the first epoch did not look."""
    options = MosaicOptions(out=tmp_path / "out")
    make(db_url, [write_exposure(tmp_path, 0)], options)
    with open_database(db_url) as database, database.read() as connection:
        (stored,) = connection.execute(sa.select(GridRow.__table__)).mappings()
    far = write_exposure(tmp_path, 0, epoch=2, sky=pointing(0, roll_deg=41.0, shift_arcsec=12.0))
    (row,) = make(db_url, [far], options).rows
    grid = grid_of(Path(row.file))
    lattice = Grid(**{name: stored[name] for name in Grid.__dataclass_fields__})
    at = offset_between(lattice, grid)
    assert at is not None
    assert at[0] < 0 or at[0] + grid.nx > stored["nx"]
    sky = pointing(0, roll_deg=41.0, shift_arcsec=12.0)
    x, y = grid.pixels_of(*sky.footprint(N_PX).T)
    assert min(x.min(), y.min()) > -0.5
    assert (x.max(), y.max()) < (grid.nx, grid.ny)
    # All of the exposure is in it; pixels on its edges count as whole ones.
    area = 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
    perimeter = float(np.hypot(x - np.roll(x, -1), y - np.roll(y, -1)).sum())
    with fits.open(row.file) as hdus:
        assert 0.0 < np.count_nonzero(hdus["WHT"].data) - area < perimeter


def test_the_first_epoch_lays_out_the_grid_whichever_comes_first(
    db_url: str, epochs: Path, tmp_path: Path
) -> None:
    """All exposures are in the registry, and mosaics of the second epoch are made first."""
    assert ingest_all(db_url, [epochs]).refused == []
    make(db_url, [epochs / "epoch2"], MosaicOptions(out=tmp_path))
    with open_database(db_url) as database, database.read() as connection:
        (stored,) = connection.execute(sa.select(GridRow.__table__)).mappings()
        first = load_epochs(connection)[0]
    assert (first.name, stored["epoch_id"]) == ("2022-07-08", first.id)
    assert stored["y_pa_deg"] == pytest.approx(41.0)


def test_short_wavelength_exposures_lose_their_level(db_url: str, tmp_path: Path) -> None:
    paths = [write_exposure(tmp_path, n, Scene(noise=0.002), array="nrca1") for n in (0, 1)]
    (row,) = make(db_url, paths, MosaicOptions(out=tmp_path / "out")).rows
    header = fits.getheader(row.file)
    assert (header["LEVELSUB"], header["BKGSUB"], header["DESTRIPE"]) == (True, True, False)
    options = MosaicOptions(out=tmp_path / "bare", background=False, stripes=True, is_stored=False)
    (bare,) = make(db_url, paths, options).rows
    header = fits.getheader(bare.file)
    assert (header["LEVELSUB"], header["BKGSUB"], header["DESTRIPE"]) == (False, False, True)
    assert fits.getdata(bare.file, "SCI")[100:200, 100:200].mean() == pytest.approx(0.2, abs=2e-3)


# --- where detectors saw the sources --------------------------------------------------------------


def test_ingest_finds_detector_positions(db_url: str, tmp_path: Path) -> None:
    """Exposures of a subarray that begins at the detector's pixel (512, 1024)."""
    first = np.array([512, 1024])
    cards: CardTable = {
        "SUBARRAY": "SUB256",
        "SUBSTRT1": 513,
        "SUBSTRT2": 1025,
        "SUBSIZE1": N_PX,
        "SUBSIZE2": N_PX,
    }
    paths = [write_exposure(tmp_path, n, primary=cards) for n in range(4)]
    (row,) = make(db_url, paths, MosaicOptions(out=tmp_path / "out")).rows
    assert "_f444w_sub256_" in row.file
    sky = grid_of(Path(row.file)).sky_of([40.0, 150.0, 200.0], [150.0, 140.0, 230.0])
    text = "".join(
        f"{n},{ra!r},{dec!r},20.0,0.01\n"
        for n, (ra, dec) in enumerate(zip(*(axis.tolist() for axis in sky), strict=True), 1)
    )
    catalog = tmp_path / "sources.csv"
    catalog.write_text("id,ra,dec,mag,mag_err\n" + text)
    report = ingest_all(db_url, [catalog], IngestOptions(image=Path(row.file)))
    assert report.refused == []
    found = detections_of(db_url, catalog_rows(db_url)[0]["id"])
    for n in range(3):
        seen = []
        for k in range(4):
            wcs = pointing(k).wcs
            x, y = wcs.all_world2pix([sky[0][n]], [sky[1][n]], 0)
            if -0.5 <= x[0] < N_PX - 0.5 and -0.5 <= y[0] < N_PX - 0.5:
                seen.append(np.array([x[0], y[0]]) + first)
        expected = np.mean(seen, axis=0)
        # To the per cent of a millipixel that the inverse of the distortion leaves.
        assert found["x_det"][n] == pytest.approx(expected[0], abs=1e-3)
        assert found["y_det"][n] == pytest.approx(expected[1], abs=1e-3)
        assert np.isfinite(found["v2_arcsec"][n])


def test_a_real_exposure(db_url: str, shared_data: Path, tmp_path: Path) -> None:
    """A cut-out of 100 x 100 pixels; its S_REGION and gwcs are those of the whole detector."""
    path = shared_data / "jw01227002001_02105_00001_nrcalong_cutout_cal.fits"
    report = make(db_url, [path], MosaicOptions(out=tmp_path))
    (row,) = report.rows
    assert (row.array, row.band, row.pmap) == ("nrcalong", "F444W", "jwst_1046.pmap")
    assert any("the gwcs is of an image of 2048 x 2048 pixels" in text for text in report.warnings)
    with fits.open(row.file) as hdus, fits.open(path) as exposure:
        sci, wht = hdus["SCI"].data, hdus["WHT"].data
        assert sci.shape < (200, 200)
        # 100 pixels of 0.063 arcsec
        assert np.count_nonzero(wht) * 0.06**2 == pytest.approx(6.3**2, rel=0.05)
        # The brightest pixel of the exposure, within the 2 x 2 pixels that it is spread over.
        usable = np.where(exposure["DQ"].data & 3 == 0, exposure["SCI"].data, np.nan)
        y, x = np.unravel_index(np.nanargmax(usable), usable.shape)
        at = read_cal_world(path).sky.sky_of(np.array(float(x)), np.array(float(y)))
        column, line = WCS(hdus["SCI"].header).all_world2pix(*at, 0)
        peak = np.unravel_index(np.nanargmax(sci), sci.shape)
        assert np.hypot(peak[0] - line, peak[1] - column) < 1.5
        # Where on the detector the cut-out lies is not known.
        assert hdus["HDRTAB"].data["WCS"].tolist() == [""]
