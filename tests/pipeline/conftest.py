"""Set-up of the proofs with the real JWST pipeline: a tiny CRDS cache, and exposures to run.

The packages are there under `make test-pipeline` (extra `pipeline`). Elsewhere every test of this
folder is skipped by name: tests import jwst, stdatamodels and crds in functions alone.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calreg import Registry
from support.crdsfiles import NIRCAM
from support.programmes import PMAP, small_programme, write_files
from support.referencesets import used_references, write_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from calreg.export.references import ReferenceReport
    from calreg.instruments import Instrument
    from calreg.sets.coefficients import CoefficientsRow
    from support.crdsfiles import CacheMaker

    RateMaker = Callable[..., Any]

HERE = Path(__file__).resolve().parent
REASON = "the JWST pipeline is not installed: run make test-pipeline (extra pipeline)"


def _has_pipeline() -> bool:
    """Tell whether the distribution jwst is installed."""
    try:
        importlib.metadata.version("jwst")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them where there is no pipeline."""
    is_missing = not _has_pipeline()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.pipeline)
            if is_missing:
                item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(scope="session")
def crds_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CRDS cache with nothing but the file that lets the pipeline start offline."""
    cache = tmp_path_factory.mktemp("crds")
    config = cache / "config" / "jwst"
    config.mkdir(parents=True)
    settings = {"observatory": "jwst", "operational_context": PMAP, "last_synced": ""}
    (config / "server_config").write_text(repr(settings), encoding="ascii")
    return cache


@pytest.fixture(autouse=True)
def crds_environment(crds_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point CRDS at the tiny cache, without a server."""
    for name in ("CRDS_SERVER_URL", "CRDS_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CRDS_PATH", str(crds_cache))
    monkeypatch.setenv("CRDS_OBSERVATORY", "jwst")
    # No parameter files: steps run with their own defaults.
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")


@dataclass(frozen=True)
class Exported:
    """A registry of JWIDF in two bands, parents for its sets, and what was exported from it.

    `photom` and `flat` (products) are by array, or array and band; `parents` and `flat_parents`
    are what they were made from; `delta` are delta flats.
    """

    url: str
    folder: Path
    cache: CacheMaker
    parents: dict[str, Path]
    flat_parents: dict[str, Path]
    photom: dict[str, Path]
    flat: dict[str, Path]
    delta: dict[str, Path]
    rows: dict[tuple[str, str], CoefficientsRow]
    reports: dict[str, ReferenceReport]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Fill a registry, write its parents, and export photom files, products and delta flats."""
    folder = tmp_path_factory.mktemp("exported")
    url = f"sqlite:///{folder / 'registry.sqlite'}"
    with Registry.create(url) as registry:
        registry.ingest(list(write_files(small_programme(), folder / "files").paths))
        registry.refit()
        maker = write_cache(url, PMAP, folder / "cache", flats=True)
        used = used_references(url, PMAP)
        parents = {name: maker.references / one.r_photom for name, one in used.items()}
        flat_parents = {
            name: maker.references / one.r_flat["F444W"]
            for name, one in used.items()
            if "F444W" in one.r_flat
        }
        reports = {
            "photom": registry.export_photom(folder / "photom", pmap=PMAP, cache=maker.path),
            "flat": registry.export_flat(
                folder / "flat", pmap=PMAP, parents=list(flat_parents.values())
            ),
            "delta": registry.export_flat(folder / "delta", pmap=PMAP),
        }
        rows = {(row.array_id, row.band): row for row in registry.coefficients(pmap=PMAP)}
    label = "calreg1130"
    corrected = [name for name in used if NIRCAM.arrays[name].module == "A"]
    return Exported(
        url=url,
        folder=folder,
        cache=maker,
        parents=parents,
        flat_parents=flat_parents,
        photom={
            name: folder / "photom" / f"jwst_nircam_photom_{label}_{name}.fits"
            for name in corrected
        },
        flat={
            name: folder / "flat" / f"jwst_nircam_flat_{label}_{name}_f444w.fits"
            for name in flat_parents
        },
        delta={
            name: folder / "delta" / f"jwst_nircam_flat_{label}_{name}_f444w.fits"
            for name in flat_parents
        },
        rows=rows,
        reports=reports,
    )


@pytest.fixture(scope="session")
def nircam() -> Instrument:
    """Return the instrument's table."""
    return NIRCAM


@pytest.fixture
def make_rate(nircam: Instrument) -> RateMaker:
    """Return a function that makes a rate exposure, an ImageModel in DN/s."""

    def make(
        array_name: str,
        band_name: str,
        *,
        shape: tuple[int, int] = (32, 40),
        subarray: str = "FULL",
        start: tuple[int, int] = (1, 1),
        seed: int = 1,
    ) -> Any:
        from stdatamodels.jwst import datamodels

        array, band = nircam.arrays[array_name], nircam.bands[band_name]
        rng = np.random.default_rng(seed)
        model = datamodels.ImageModel(shape)
        model.data = rng.uniform(0.5, 5.0, shape).astype(np.float32)
        model.err = np.full(shape, 0.05, dtype=np.float32)
        model.dq = np.zeros(shape, dtype=np.uint32)
        model.var_poisson = np.full(shape, 1.5e-3, dtype=np.float32)
        model.var_rnoise = np.full(shape, 1.0e-3, dtype=np.float32)
        model.meta.telescope = "JWST"
        model.meta.filename = f"jw01176001001_02101_00001_{array_name}_rate.fits"
        model.meta.instrument.name = nircam.name
        model.meta.instrument.detector = array.detector
        model.meta.instrument.module = array.module
        model.meta.instrument.channel = {"SW": "SHORT", "LW": "LONG"}[array.channel]
        model.meta.instrument.filter = band.filter
        model.meta.instrument.pupil = band.pupil
        model.meta.exposure.type = "NRC_IMAGE"
        model.meta.exposure.start_time = 59768.350
        model.meta.exposure.mid_time = 59768.355
        model.meta.exposure.end_time = 59768.360
        model.meta.observation.date = "2022-07-08"
        model.meta.observation.time = "08:24:00.000"
        model.meta.subarray.name = subarray
        model.meta.subarray.xstart, model.meta.subarray.ystart = start
        model.meta.subarray.xsize, model.meta.subarray.ysize = shape[1], shape[0]
        model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = -1, 2
        model.meta.bunit_data = model.meta.bunit_err = "DN/s"
        return model

    return make
