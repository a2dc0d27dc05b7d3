"""A CRDS context with our files: the stock pipeline takes them with no override at all."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from astropy.io import fits

from calreg import Registry
from support.programmes import PMAP
from support.referencesets import used_references

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from calreg.export.context import ContextReport

    Exported = Any

RUN = """
import sys
from jwst.pipeline import Image2Pipeline
for name in sys.argv[1:]:
    steps = {"assign_wcs": {"skip": True}, "resample": {"skip": True}}
    Image2Pipeline.call(name, steps=steps, save_results=True, output_dir=".")
"""

EXPOSURES = [
    ("nrca1", "F200W"),
    ("nrca4", "F200W"),
    ("nrcb1", "F200W"),
    ("nrcalong", "F444W"),
    ("nrcblong", "F444W"),
]


@pytest.fixture(scope="module")
def context(exported: Exported) -> ContextReport:
    """Export a context and verify it."""
    with Registry(exported.url) as registry:
        return registry.export_context(
            exported.folder / "overlay",
            pmap=PMAP,
            cache=exported.cache.path,
            name="idfcal1",
            verify=True,
        )


def test_the_context_is_complete_and_verified(context: ContextReport, exported: Exported) -> None:
    assert context.crds_context == "jwst_1130_idfcal1.pmap"
    assert [name.split()[0] for name in context.checkers] == ["stdatamodels", "crds"]
    # Five arrays with a photom file, two with a flat; the others of both types as before.
    assert context.n_verified == 2 * 10
    names = [one.path.name for one in context.deliveries]
    assert names[:5] == [
        f"jwst_nircam_photom_idfcal1_{name}.fits"
        for name in ("nrca1", "nrca2", "nrca3", "nrca4", "nrcalong")
    ]
    assert names[5:] == [
        "jwst_nircam_flat_idfcal1_nrcalong_f444w.fits",
        "jwst_nircam_flat_idfcal1_nrcblong_f444w.fits",
        "jwst_1130_idfcal1.pmap",
        "jwst_nircam_0201_idfcal1.imap",
        "jwst_nircam_photom_0033_idfcal1.rmap",
        "jwst_nircam_flat_0060_idfcal1.rmap",
    ]
    with Registry(exported.url) as registry:
        assert registry.check() == []
    # The same files as a plain export, but for the name in them.
    ours, plain = (
        fits.getdata(path, "SCI")
        for path in (context.deliveries[5].path, exported.flat["nrcalong"])
    )
    np.testing.assert_array_equal(ours, plain)


def test_the_stock_pipeline_takes_what_it_should(
    context: ContextReport,
    exported: Exported,
    make_rate: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Ours for corrected detectors and bands, the parent's for others; values to 1e-6."""
    start, size = (1201, 601), 160
    rates = {}
    for name, band in EXPOSURES:
        rate = make_rate(name, band, shape=(size, size), subarray="SUB160", start=start)
        rates[name] = rate.data.astype(np.float64)
        rate.save(str(tmp_path / f"{name}_rate.fits"))
    environment = os.environ | {
        "CRDS_PATH": str(context.crds_path),
        "CRDS_CONTEXT": context.crds_context,
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, *(f"{name}_rate.fits" for name in rates)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    used = used_references(exported.url, PMAP)
    window = np.s_[start[1] - 1 : start[1] - 1 + size, start[0] - 1 : start[0] - 1 + size]
    for name, band in EXPOSURES:
        with fits.open(tmp_path / f"{name}_cal.fits") as opened:
            header, sci = opened[0].header, opened["SCI"].data
            photmjsr = opened["SCI"].header["PHOTMJSR"]
            assert opened["SCI"].header["BUNIT"] == "MJy/sr"
        is_a, has_gradient = name.startswith("nrca"), band == "F444W"
        r_photom = f"jwst_nircam_photom_idfcal1_{name}.fits" if is_a else used[name].r_photom
        r_flat = (
            f"jwst_nircam_flat_idfcal1_{name}_f444w.fits"
            if has_gradient
            else used[name].r_flat[band]
        )
        assert header["CRDS_CTX"] == context.crds_context
        assert header["R_PHOTOM"] == f"crds://{r_photom}"
        assert header["R_FLAT"] == f"crds://{r_flat}"
        folder = exported.cache.references if not is_a else exported.folder / "photom"
        photom = exported.photom[name] if is_a else exported.cache.references / used[name].r_photom
        assert photom.parent == folder
        table = fits.getdata(photom, "PHOTOM")
        is_row = (table["filter"] == band) & (table["subarray"] == "SUB160")
        assert photmjsr == pytest.approx(float(table["photmjsr"][is_row][0]), rel=1e-6)
        path = exported.flat[name] if has_gradient else exported.cache.references / r_flat
        flat = fits.getdata(path, "SCI")[window].astype(np.float64)
        is_good = np.isfinite(flat)
        np.testing.assert_allclose(
            sci[is_good], (rates[name] * photmjsr / flat)[is_good], rtol=1e-6
        )
