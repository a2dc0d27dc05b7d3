"""Bad input to mosaics: one line for each file, nothing written, nothing in the registry."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calreg import Registry
from calreg.errors import (
    ConflictError,
    InvalidValueError,
    MissingExtraError,
    OutputError,
    RefusedFilesError,
)
from calreg.files.atomic import NamedFiles
from calreg.files.fits.cards import header_block
from calreg.ingest.options import IngestOptions
from calreg.pixels.mosaic.job import make_mosaics
from calreg.pixels.mosaic.plan import MosaicOptions
from support.mosaicexposures import N_PX, Scene, write_epoch, write_exposure
from support.synthetic import contents, exposure_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from calreg.files.atomic import PendingFile
    from support.commandline import Result

PLANE = (N_PX, N_PX)


def refusals(url: str, paths: Sequence[Path], options: MosaicOptions) -> tuple[str, ...]:
    """Return why nothing is made, and check that nothing is left of it."""
    before = contents(url)
    with Registry(url) as registry, pytest.raises(RefusedFilesError) as caught:
        registry.mosaic(paths, options)
    assert contents(url) == before
    assert files_in(options.out) == []
    assert all("\n" not in reason for reason in caught.value.reasons)
    return caught.value.reasons


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


# --- exposures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planes", "reason"),
    [
        ({"SCI": np.full(PLANE, np.nan, np.float32)}, "SCI is NaN throughout"),
        ({"DQ": np.full(PLANE, 2, np.uint32)}, "every pixel that is left is saturated"),
        ({"DQ": np.ones(PLANE, np.uint32)}, "DQ says DO_NOT_USE throughout"),
        ({"ERR": None, "VAR_POISSON": None}, "has no extension ERR and no VAR_POISSON"),
    ],
    ids=["NaN", "saturated", "DO_NOT_USE", "no errors"],
)
def test_an_exposure_without_data(
    db_url: str, tmp_path: Path, planes: dict[str, np.ndarray | None], reason: str
) -> None:
    good = write_exposure(tmp_path, 0)
    bad = [write_exposure(tmp_path, n, planes=planes) for n in (1, 2)]
    found = refusals(db_url, [good, *bad], MosaicOptions(out=tmp_path / "out"))
    assert [text.partition(": ")[0] for text in found] == [str(path) for path in bad]
    assert all(reason in text for text in found)


def test_an_exposure_without_wcs(db_url: str, tmp_path: Path) -> None:
    good = write_exposure(tmp_path, 0)
    bad = write_exposure(tmp_path, 1, science={"CTYPE1": None, "CTYPE2": None})
    (reason,) = refusals(db_url, [good, bad], MosaicOptions(out=tmp_path / "out"))
    assert reason.startswith(f"{bad}: has no WCS (SCI")
    assert "run the step assign_wcs on it, or leave it out" in reason


def test_truncated_files_and_others(db_url: str, tmp_path: Path) -> None:
    good, cut = (write_exposure(tmp_path, n) for n in (0, 1))
    cut.write_bytes(cut.read_bytes()[:-5000])
    table = tmp_path / "sources.csv"
    table.write_text("id,ra,dec,mag,mag_err\n1,265.0,69.0,20.0,0.1\n")
    (tmp_path / "notes.txt").write_text("not data")
    options = MosaicOptions(out=tmp_path / "out")
    missing = tmp_path / "none_cal.fits"
    found = refusals(db_url, [good, cut, table, missing], options)
    assert sorted(text.partition(":")[0] for text in found) == sorted(
        map(str, (cut, table, missing))
    )
    assert any("truncated" in text for text in found)
    assert any("expected cal or crf exposures; leave it out" in text for text in found)


def test_what_else_is_in_a_folder_is_passed_over(db_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "epoch1"
    write_epoch(folder)
    (folder / "notes.txt").write_text("not data")
    with Registry(db_url) as registry:
        registry.mosaic([folder], MosaicOptions(out=folder))
        report = registry.mosaic([folder], MosaicOptions(out=folder))
    assert [row.status for row in report.rows] == ["unchanged"]
    assert sorted(path.suffix for path in report.skipped) == [".fits", ".txt"]


def test_a_mosaic_of_a_mosaic(db_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "epoch1"
    write_epoch(folder)
    with Registry(db_url) as registry:
        (row,) = registry.mosaic([folder], MosaicOptions(out=tmp_path)).rows
        with pytest.raises(RefusedFilesError, match=r"_i2d\.fits: is a mosaic already \(i2d\)"):
            registry.mosaic([row.file], MosaicOptions(out=tmp_path))


def test_no_exposure_at_all(db_url: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with (
        Registry(db_url) as registry,
        pytest.raises(InvalidValueError, match="no cal or crf exposure"),
    ):
        registry.mosaic([tmp_path / "empty"])


def test_the_same_exposure_twice(db_url: str, tmp_path: Path) -> None:
    cal, crf = (write_exposure(tmp_path, 0, kind=kind) for kind in ("cal", "crf"))
    (reason,) = refusals(db_url, [cal, crf], MosaicOptions(out=tmp_path / "out"))
    assert f"{cal.name} (cal, jwst_1130.pmap) and {crf.name} (crf, jwst_1130.pmap) are" in reason


def test_other_content_of_a_known_exposure(db_url: str, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first = write_exposure(tmp_path, 0)
    other = write_exposure(tmp_path / "again", 0, science={"MJD-AVG": 1.0})
    with Registry(db_url) as registry:
        registry.ingest(first)
    (reason,) = refusals(db_url, [other], MosaicOptions(out=tmp_path / "out"))
    assert "is known with other content" in reason


@pytest.mark.parametrize(
    "values", [{"scale_arcsec": 0.0}, {"pixfrac": 1.5}, {"kernel": "gaussian"}, {"n_jobs": 0}]
)
def test_settings_that_cannot_be(values: dict[str, float | str]) -> None:
    with pytest.raises(InvalidValueError, match=f"^--.*{next(iter(values.values()))}"):
        MosaicOptions(**values)  # type: ignore[arg-type]


# --- files and registry ---------------------------------------------------------------------------


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    folder = tmp_path / "epoch1"
    write_epoch(folder, Scene(noise=0.002))
    return folder


@pytest.mark.parametrize("n_good_files", [0, 1])
def test_a_full_disk(
    db_url: str, epoch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_good_files: int
) -> None:
    """The disk fills up while the first or the second of two mosaics is written."""
    write_exposure(epoch, 0, array="nrcblong")
    n_written = 0

    def block(cards: object) -> bytes:
        nonlocal n_written
        n_written += 1
        # Seven headers a file; it is halfway through one.
        if n_written > 7 * n_good_files + 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return header_block(cards)  # type: ignore[arg-type]

    monkeypatch.setattr("calreg.files.fits.write.header_block", block)
    out = tmp_path / "out"
    before = contents(db_url)
    with Registry(db_url) as registry, pytest.raises(OutputError) as caught:
        registry.mosaic([epoch], MosaicOptions(out=out))
    assert "No space left on device" in str(caught.value)
    assert str(caught.value).startswith(f"cannot write {out}/jwidf_2022-07-08_nrc")
    assert files_in(out) == []
    assert contents(db_url) == before
    monkeypatch.undo()
    with Registry(db_url) as registry:
        assert len(registry.mosaic([epoch], MosaicOptions(out=out)).rows) == 2


def test_a_commit_that_fails_takes_the_names_back(
    db_url: str, epoch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last statement of the transaction fails, after files got their names."""
    give_name = NamedFiles.give
    write_exposure(epoch, 0, array="nrcblong")
    out = tmp_path / "out"
    given = []

    def give(self: NamedFiles, pending: PendingFile) -> None:
        give_name(self, pending)
        given.append(files_in(out))
        if len(given) == 2:
            msg = "the connection is gone"
            raise ConflictError(msg)

    monkeypatch.setattr(NamedFiles, "give", give)
    before = contents(db_url)
    with Registry(db_url) as registry, pytest.raises(ConflictError, match="connection is gone"):
        registry.mosaic([epoch], MosaicOptions(out=out))
    assert [sum(name.startswith("jwidf") for name in names) for names in given] == [1, 2]
    assert files_in(out) == []
    assert contents(db_url) == before


def test_a_file_of_other_content(db_url: str, epoch: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Registry(db_url) as registry:
        (row,) = registry.mosaic([epoch], MosaicOptions(out=out)).rows
        before, content = contents(db_url), (out / row.file).read_bytes()
        finer = MosaicOptions(out=out, scale_arcsec=0.05)
        with pytest.raises(RefusedFilesError, match="exists, and was made of other exposures"):
            registry.mosaic([epoch], finer)
        # Elsewhere the name is free, but the registry has another mosaic of these exposures.
        with pytest.raises(RefusedFilesError, match=r"the registry has another mosaic of .*/out/"):
            registry.mosaic([epoch], MosaicOptions(out=tmp_path / "new", scale_arcsec=0.05))
        assert contents(db_url) == before
        assert (out / row.file).read_bytes() == content
        (replaced,) = registry.mosaic(
            [epoch], MosaicOptions(out=out, scale_arcsec=0.05, overwrite=True)
        ).rows
        assert registry.check() == []
    assert (replaced.file, replaced.status) == (row.file, "made")
    images = [image for image in exposure_rows(db_url) if image["kind"] == "i2d"]
    assert [image["pixar_sr"] for image in images] == [
        pytest.approx(np.radians(0.05 / 3600.0) ** 2)
    ]
    assert files_in(out) == [images[0]["file_name"]]


def test_a_mosaic_with_catalogs_stays(db_url: str, epoch: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Registry(db_url) as registry:
        (row,) = registry.mosaic([epoch], MosaicOptions(out=out)).rows
        catalog = tmp_path / "sources.csv"
        catalog.write_text("id,ra,dec,mag,mag_err\n1,265.02,68.98,20.0,0.1\n")
        registry.ingest(catalog, IngestOptions(image=out / row.file))
        before, content = contents(db_url), (out / row.file).read_bytes()
        options = MosaicOptions(out=out, scale_arcsec=0.05, overwrite=True)
        with pytest.raises(RefusedFilesError, match="1 catalogs belong to it, so it stays"):
            registry.mosaic([epoch], options)
    assert contents(db_url) == before
    assert files_in(out) == [row.file.rpartition("/")[2]]
    assert (out / row.file).read_bytes() == content


def test_other_exposures_take_the_file_over(db_url: str, epoch: Path, tmp_path: Path) -> None:
    """Without its first exposure, a mosaic has another identity and the same name."""
    out, paths = tmp_path / "out", sorted(epoch.iterdir())
    with Registry(db_url) as registry:
        (row,) = registry.mosaic(paths[:3], MosaicOptions(out=out)).rows
        with pytest.raises(RefusedFilesError, match="exists, and was made of other exposures"):
            registry.mosaic(paths[1:], MosaicOptions(out=out))
        (again,) = registry.mosaic(paths[1:], MosaicOptions(out=out, overwrite=True)).rows
        assert again.file == row.file
        (image,) = [image for image in exposure_rows(db_url) if image["kind"] == "i2d"]
        assert image["expstart_mjd_utc"] == 59768.26
        assert registry.check() == []
        # With catalogs of it, the file is not given to others.
        catalog = tmp_path / "sources.csv"
        catalog.write_text("id,ra,dec,mag,mag_err\n1,265.02,68.98,20.0,0.1\n")
        registry.ingest(catalog, IngestOptions(image=Path(row.file)))
        with pytest.raises(RefusedFilesError, match="1 catalogs belong to it, so it stays"):
            registry.mosaic(paths[:3], MosaicOptions(out=out, overwrite=True))
        assert registry.check() == []


def test_no_store_does_not_touch_files_of_the_registry(
    db_url: str, epoch: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with Registry(db_url) as registry:
        (row,) = registry.mosaic([epoch], MosaicOptions(out=out)).rows
        content = Path(row.file).read_bytes()
        options = MosaicOptions(out=out, scale_arcsec=0.05, overwrite=True, is_stored=False)
        with pytest.raises(RefusedFilesError, match="belongs to the registry, which --no-store"):
            registry.mosaic([epoch], options)
        assert Path(row.file).read_bytes() == content
        assert registry.check() == []


def test_a_mosaic_that_was_lost_is_made_again(db_url: str, epoch: Path, tmp_path: Path) -> None:
    with Registry(db_url) as registry:
        (row,) = registry.mosaic([epoch], MosaicOptions(out=tmp_path / "out")).rows
        before = contents(db_url)
        path = tmp_path / "out" / row.file
        content = path.read_bytes()
        path.unlink()
        (again,) = registry.mosaic([epoch], MosaicOptions(out=tmp_path / "out")).rows
    assert again.status == "made"
    assert path.read_bytes() == content
    assert contents(db_url) == before


def test_another_call_lays_the_grid_out_meanwhile(
    db_url: str, epoch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls began without a grid; the second one to end must not use one of its own."""
    later = [write_exposure(tmp_path, n, epoch=2) for n in (0, 1)]
    options = MosaicOptions(out=tmp_path / "out")

    def make(*arguments: Any, **more: Any) -> Any:
        monkeypatch.undo()
        with Registry(db_url) as other:
            other.mosaic([epoch], options)
        return make_mosaics(*arguments, **more)

    monkeypatch.setattr("calreg.pixels.mosaic.mosaic.make_mosaics", make)
    with (
        Registry(db_url) as registry,
        pytest.raises(ConflictError, match=r"changed by another call .* run it again"),
    ):
        registry.mosaic(later, options)
    assert len(files_in(tmp_path / "out")) == 1
    with Registry(db_url) as registry:
        registry.mosaic(later, options)
        assert registry.check() == []
    assert len(files_in(tmp_path / "out")) == 2


@pytest.mark.parametrize("module", ["drizzle.resample", "photutils.background"])
def test_a_missing_extra_is_said_once(
    db_url: str, epoch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with (
        Registry(db_url) as registry,
        pytest.raises(MissingExtraError, match=r"pip install 'calreg\[mosaic\]'"),
    ):
        registry.mosaic([epoch], MosaicOptions(out=tmp_path / "out"))
    assert files_in(tmp_path / "out") == []


def test_a_folder_that_cannot_be_made(db_url: str, epoch: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Registry(db_url) as registry, pytest.raises(OutputError, match="cannot make the folder"):
        registry.mosaic([epoch], MosaicOptions(out=tmp_path / "file" / "out"))


# --- the command ----------------------------------------------------------------------------------


def test_the_command_refuses_in_lines(
    calreg: Callable[..., Result], db_url: str, tmp_path: Path
) -> None:
    pmaps = ("jwst_1130.pmap", "jwst_1039.pmap")
    paths = [write_exposure(tmp_path, n, primary={"CRDS_CTX": pmaps[n]}) for n in (0, 1)]
    result = calreg("--db", db_url, "mosaic", *paths, "--out", tmp_path / "out")
    assert (result.status, result.out) == (1, "")
    first, last = result.err.splitlines()
    assert first.startswith("refused: JWIDF 2022-07-08 nrcalong F444W: mixed contexts: jwst_1039")
    assert last == "nothing was made: leave the refused files out, or mend them"


def test_usage_errors(calreg: Callable[..., Result], db_url: str, tmp_path: Path) -> None:
    path = write_exposure(tmp_path, 0)
    for words in (["--scale", "0"], ["--force-context", "latest"], ["--kernel", "gaussian"]):
        assert calreg("--db", db_url, "mosaic", path, *words).status == 2
