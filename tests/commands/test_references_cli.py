"""``calreg export photom``, ``flat`` and ``context`` on the command line."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits

from support.programmes import PMAP
from support.referencesets import write_cache, write_parents

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commandline import Result

    Run = Callable[..., Result]


def has_checkers() -> bool:
    try:
        importlib.metadata.version("crds")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRDS_PATH", raising=False)


@pytest.fixture
def small_file(sqlite_template: Path, tmp_path: Path) -> Path:
    """Return an empty registry."""
    return Path(shutil.copy(sqlite_template, tmp_path / "empty.sqlite"))


def test_photom_and_flat(calreg: Run, small_url: str, tmp_path: Path) -> None:
    write_parents(small_url, PMAP, tmp_path / "parents")
    out = tmp_path / "refs"
    done = calreg(
        "--db", small_url, "export", "photom", "--pmap", "1130",
        "--parent", tmp_path / "parents", "--out", out,
    )  # fmt: skip
    assert (done.status, done.out) == (0, "")
    path = out / "jwst_nircam_photom_calreg1130_nrca1.fits"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"wrote {path} (1 sets, sha256 {digest[:16]}" in done.err
    if not has_checkers():
        assert "checked by calreg\nstdatamodels and crds are not installed" in done.err
    done = calreg("--db", small_url, "export", "flat", "--pmap", "1130", "--out", out)
    assert (done.status, done.out) == (0, "")
    assert "note: delta flats: divide finished files by them" in done.err
    assert (out / "jwst_nircam_flat_calreg1130_nrcblong_f444w.fits").exists()


def test_the_datum_is_an_option(calreg: Run, small_url: str, tmp_path: Path) -> None:
    words = ("--db", small_url, "export", "flat", "--pmap", PMAP, "--gradient-datum", "b")
    done = calreg(*words, "--out", tmp_path / "b", "--format", "json")
    (delivery,) = done.json["deliveries"]
    assert delivery["path"].endswith("calreg1130_nrcalong_f444w.fits")
    flat = fits.getdata(delivery["path"], "SCI")
    assert flat.mean(dtype=float) == pytest.approx(1.0, abs=1e-9)
    assert np.ptp(flat) > 0.0
    history = " ".join(fits.getheader(delivery["path"])["HISTORY"])
    assert "gradient datum B" in " ".join(history.split())
    refused = calreg(*words[:-1], "A", "--out", tmp_path / "c")
    assert refused.status == 2
    assert "expected one of symmetric, B" in refused.err


def test_the_cache_is_the_environments(
    calreg: Run, small_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = write_cache(small_url, PMAP, tmp_path / "crds")
    monkeypatch.setenv("CRDS_PATH", str(maker.path))
    done = calreg("--db", small_url, "export", "photom", "--pmap", PMAP, "--out", tmp_path / "out")
    assert done.status == 0
    assert f"note: parents from {maker.path}" in done.err


@pytest.mark.parametrize(
    "name", ["1131", "jwst1131", "latest", "edit", "build12", "IDF", "my_cal", "x", "idf-cal", ""]
)
def test_names_that_look_like_official_contexts(
    name: str, calreg: Run, small_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "overlay"
    done = calreg(
        "--db", small_file, "export", "context", "--pmap", PMAP, "--cache", tmp_path,
        "--name", name, "--out", out,
    )  # fmt: skip
    assert (done.status, done.out) == (2, "")
    assert "idfcal1" in done.err
    assert not out.exists()


def test_a_context_needs_a_cache_and_crds(calreg: Run, small_file: Path, tmp_path: Path) -> None:
    words = ("--db", small_file, "export", "context", "--pmap", PMAP, "--name", "idfcal1")
    done = calreg(*words)
    assert done.status == 2
    assert "give --cache, or set CRDS_PATH" in done.err
    done = calreg(*words, "--cache", tmp_path, "--out", tmp_path / "overlay")
    assert (done.status, done.out) == (1, "")
    expected = (
        "no config/jwst/server_config" if has_checkers() else "pip install 'calreg[validate]'"
    )
    assert expected in done.err
    assert not (tmp_path / "overlay").exists()


def test_failures_are_one_line_and_leave_nothing(
    calreg: Run, small_url: str, tmp_path: Path
) -> None:
    words = ("--db", small_url, "export")
    out = tmp_path / "out"
    for extra, message in (
        (("photom", "--pmap", "1200"), "no coefficient set for jwst_1200.pmap"),
        (("photom", "--pmap", PMAP, "--parent", tmp_path / "x.fits"), "x.fits"),
        (("flat", "--pmap", PMAP, "--like", tmp_path / "x.fits"), "x.fits"),
        (("flat", "--pmap", PMAP, "--parent", tmp_path, "--like", tmp_path), "exclude each other"),
    ):
        done = calreg(*words, *extra, "--out", out)
        assert (done.status, done.out) == (1, "")
        assert message in done.err
        assert len(done.err.splitlines()) == 1
        assert not out.exists()
