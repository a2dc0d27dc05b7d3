"""Answers from a registry with many coefficient sets."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.databases import ENGINES, gather_statistics
from benchmarks.harness import Result, median_call_s
from calreg import Registry
from calreg.db.bulk import insert_columns
from calreg.db.engine import open_database
from calreg.db.schema import (
    CoefficientRow,
    CoefficientSetRow,
    FieldRow,
    FitRunRow,
    PmapRow,
)
from calreg.domain import Pmap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from benchmarks.harness import Setting
    from calreg.db.engine import Connection

_BANDS = {
    "1 2 3 4": ("F070W", "F090W", "F115W", "F150W", "F200W", "F140M", "F182M", "F210M"),
    "long": ("F277W", "F356W", "F444W", "F250M", "F300M", "F335M", "F410M", "F430M"),
}
_N_PMAPS = 125
_FIRST_PMAP = 1000
_N_VERSIONS = 20
_LIMIT_S = 0.050
_N_CALLS = 20
_MOMENT = datetime(2023, 9, 1, tzinfo=UTC)


def run(setting: Setting) -> Iterator[Result]:
    """Time `history` and `coefficients` in process, with 10^5 sets stored."""
    for engine in ENGINES:
        url = setting.databases.make(engine)
        n_sets = fill(url, _N_PMAPS // 10 if setting.is_quick else _N_PMAPS)
        gather_statistics(url)
        with Registry(url) as registry:
            half_way = _MOMENT + timedelta(days=_N_VERSIONS / 2)
            context = Pmap(_FIRST_PMAP + 5)
            calls: dict[str, Callable[[], Sequence[object]]] = {
                "history of one band and array": partial(registry.history, "F356W", "long"),
                "coefficients of one context": partial(registry.coefficients, pmap=context),
                "coefficients of one key, all versions": partial(
                    registry.coefficients,
                    pmap=context,
                    band="F356W",
                    array_id="long",
                    all_versions=True,
                ),
                "history as of an earlier time": partial(
                    registry.history, "F356W", "long", as_of_utc=half_way
                ),
            }
            for what, call in calls.items():
                n_found = len(call())
                median_s = median_call_s(call, _N_CALLS)
                yield Result(
                    f"{what}, {n_found} of {n_sets} sets, {engine}",
                    f"{1000 * median_s:.1f} ms",
                    target=f"< {1000 * _LIMIT_S:.0f} ms",
                    is_reached=median_s < _LIMIT_S,
                )
            everything = median_call_s(registry.coefficients, 3)
            yield Result(
                f"all current coefficients, {n_sets // _N_VERSIONS} of {n_sets} sets, {engine}",
                f"{1000 * everything:.0f} ms",
            )


def fill(url: str, n_pmaps: int) -> int:
    """Store sets of one field for many contexts, bands, arrays and versions; return how many."""
    bands = np.array(
        [
            (band, array_id)
            for ids, names in _BANDS.items()
            for array_id in ids.split()
            for band in names
        ]
    )
    n_keys = len(bands)
    n_sets = n_pmaps * n_keys * _N_VERSIONS
    version, pmap, key = np.unravel_index(np.arange(n_sets), (_N_VERSIONS, n_pmaps, n_keys))
    sets = _set_columns(n_sets)
    sets |= {
        "pmap_id": pmap + 1,
        "filter": bands[key, 0].astype(np.object_),
        "band": bands[key, 0].astype(np.object_),
        "array_id": bands[key, 1].astype(np.object_),
        "version": version + 1,
        "created_utc": np.array(
            [_MOMENT + timedelta(days=n) for n in range(_N_VERSIONS)], dtype=object
        )[version],
    }
    numbers = np.arange(_FIRST_PMAP, _FIRST_PMAP + n_pmaps)
    names = np.array([Pmap(int(number)).name for number in numbers], dtype=object)
    pmaps: dict[str, Any] = {"id": np.arange(1, n_pmaps + 1), "name": names, "number": numbers}
    run: dict[str, Any] = {"id": 1, "started_utc": _MOMENT, "settings": "{}", "code_version": "0"}
    with open_database(url) as database, database.write() as connection:
        insert_columns(connection, FieldRow, {"id": 1, "name": "JWIDF", "created_utc": _MOMENT})
        insert_columns(connection, FitRunRow, run)
        insert_columns(connection, PmapRow, pmaps)
        insert_columns(connection, CoefficientSetRow, sets)
        _fill_coefficients(connection, n_sets, is_long=bands[key, 1] == "long")
    return n_sets


def _set_columns(n_sets: int) -> dict[str, Any]:
    """Lay out what the sets share, with an id and a digest for each."""
    set_pk = np.arange(1, n_sets + 1)
    digests = np.array([hashlib.sha256(str(n).encode()).hexdigest() for n in set_pk], dtype=object)
    return {
        "id": set_pk,
        "set_id": np.array([str(uuid.UUID(digest[:32])) for digest in digests], dtype=object),
        "input_digest": digests,
        "fit_run_id": 1,
        "field_id": 1,
        "pupil": "CLEAR",
        "image_kind": "i2d",
        "flux_kind": "iso",
        "aperture": "",
        "model": "pair",
        "model_version": 1,
        "datum": "B",
        "settings": '{"mag_limit": 22.0, "snr": 100.0, "max_sep_arcsec": 0.1}',
        "axis_pa_deg": 161.4,
        "origin_ra_deg": 260.7,
        "origin_dec_deg": 65.8,
        "n_epochs": 3,
        "n_pairs": 120,
        "n_sources": 60,
        "n_clipped": 2,
        "floor_mag": 0.005,
        "scatter_mag": 0.008,
        "chi2": 118.0,
        "n_dof": 119,
        "offset_bootstrap_err_mag": 0.001,
    }


def _fill_coefficients(connection: Connection, n_sets: int, *, is_long: NDArray[np.bool_]) -> None:
    """Store an offset for every set, and a slope for the long-wavelength ones."""
    rng = np.random.default_rng(20)
    set_pk = np.arange(1, n_sets + 1)
    for name, unit, scatter, rows in (
        ("offset_ab", "mag", 0.02, set_pk),
        ("slope", "mag / arcmin", 0.005, set_pk[is_long]),
    ):
        value = rng.normal(0.0, scatter, rows.size)
        columns: dict[str, Any] = {
            "set_pk": rows,
            "name": name,
            "value": value,
            "err": 0.001,
            "unit": unit,
        }
        insert_columns(connection, CoefficientRow, columns)
