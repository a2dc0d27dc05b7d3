"""One key: what it is fitted from and the digest of that, its fit, and the rows of its set."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.db.queries.pairs import mark_variable
from calreg.db.queries.zeropoints import calibration_conflict
from calreg.domain import ExposureKind, RollRelation
from calreg.errors import FitRefusedError
from calreg.files.atomic import sha256_of_json
from calreg.instruments.software import software_conflict
from calreg.science.model.offsets import measure_time_check
from calreg.science.model.pairmodel import (
    DATUM,
    MODEL_NAME,
    MODEL_VERSION,
    Nodes,
    PairFit,
    fit_pair_model,
)
from calreg.science.sky.geometry import along_axis, module_side, sky_position, unit_vectors
from calreg.science.sky.matching import assign_sources
from calreg.science.statistics import mad_by_group, median_by_group

if TYPE_CHECKING:
    import numpy.typing as npt

    from calreg.db.queries.pairs import CatalogImage, StoredGroup
    from calreg.db.queries.zeropoints import TimedFile
    from calreg.domain import BoolArray, IntArray, SetKey
    from calreg.instruments import Instrument
    from calreg.instruments.software import SoftwareEra
    from calreg.science.model.settings import FitSettings
    from calreg.science.sky.geometry import FieldAxis

Columns = dict[str, "npt.NDArray[Any]"]
Row = dict[str, object]

_SET_NAMESPACE = uuid.UUID("6f0c1a52-7d0e-5c59-9d6e-3c1b5f1f9a11")

_NUMBERS_PER_CATALOG = 2**32
"""Numbers of detections are 32-bit integers, so that one 64-bit integer names any detection."""


@dataclass(frozen=True)
class KeyInputs:
    """All that decides the answer for one key, before any pair is read.

    Attributes
    ----------
    images : list of CatalogImage
        Catalogs of the key in the order of time.
    variable : dict of int to list of (int, int)
        Pairs left out as variable, by group.
    timed : set of TimedFile
        Photom files whose values depend on time.
    """

    key: SetKey
    images: list[CatalogImage]
    groups: list[StoredGroup]
    axis: FieldAxis
    fit_slope: bool
    settings: FitSettings
    variable: dict[int, list[tuple[int, int]]]
    epoch_names: dict[int, str]
    timed: set[TimedFile]
    eras: tuple[SoftwareEra, ...]

    @cached_property
    def objection(self) -> str:
        """Why the images must not enter one fit, empty if they may."""
        return (
            _two_reductions(self)
            or calibration_conflict(self.images, self.timed)
            or (
                "" if self.settings.allow_mixed_software else mixed_software(self.images, self.eras)
            )
        )

    @cached_property
    def images_by_catalog(self) -> dict[int, CatalogImage]:
        """The key's catalogs by id."""
        return {image.catalog_id: image for image in self.images}

    @cached_property
    def epoch_ids(self) -> list[int]:
        """The epochs of the key in the order of time."""
        first_seen: dict[int, float] = {}
        for image in self.images:
            known = first_seen.get(image.epoch_id, np.inf)
            first_seen[image.epoch_id] = min(known, image.expmid_mjd_utc)
        return sorted(first_seen, key=lambda epoch_id: (first_seen[epoch_id], epoch_id))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that the fit depends on, the same in any registry and order."""
        order = {epoch_id: n for n, epoch_id in enumerate(self.epoch_ids)}
        groups = sorted(
            (
                self.images_by_catalog[group.catalog_i_id].file_sha256,
                self.images_by_catalog[group.catalog_j_id].file_sha256,
                group.array_i,
                group.array_j,
                order[group.epoch_i_id],
                order[group.epoch_j_id],
                group.n_matched,
                self.variable.get(group.id, []),
            )
            for group in self.groups
        )
        first = self.images[0]
        axis = self.axis
        content = {
            "key": [first.pmap.name, *self.key[2:]],
            "groups": groups,
            "axis": [axis.pa_deg, axis.origin_ra_deg, axis.origin_dec_deg]
            if self.fit_slope
            else [],
            "settings": self.settings.canonical_json(),
            "model_version": MODEL_VERSION,
        }
        if self.objection:
            content["objection"] = self.objection
        return sha256_of_json(content)


@dataclass(frozen=True)
class KeyFit:
    """The fit of one key, and the rows that its set consists of.

    Attributes
    ----------
    row : dict of str to object
        The set's own row, but for its id, version and times.
    inputs : list of dict of str to object
        The groups of the fit with their statistics under its selection.
    """

    fit: PairFit
    row: Row
    coefficients: list[Row]
    covariances: list[Row]
    inputs: list[Row]


def fit_key(inputs: KeyInputs, pairs: Columns, instrument: Instrument) -> KeyFit:
    """Fit one key to its pairs among those that were read.

    Raises
    ------
    FitRefusedError
        If its images are of different reductions, calibrations or software, or its pairs do not
        determine the model.
    """
    if inputs.objection:
        raise FitRefusedError(inputs.objection)
    selected = _select_pairs(inputs, pairs)
    fit = fit_pair_model(
        _build_nodes(inputs, selected, instrument),
        inputs.settings,
        fit_slope=inputs.fit_slope,
        seed=int(inputs.digest[:8], 16),
    )
    return KeyFit(
        fit=fit,
        row=_set_row(inputs, selected, fit),
        coefficients=_coefficient_rows(fit),
        covariances=_covariance_rows(fit),
        inputs=_input_rows(inputs, selected),
    )


@dataclass(frozen=True)
class _SelectedPairs:
    """The pairs within the selection, with what follows from their groups.

    Attributes
    ----------
    columns : dict of str to ndarray
        Columns of the table pairs, all shape (n_pairs,).
    group_index : ndarray of int64, shape (n_pairs,)
        Into `KeyInputs.groups`.
    is_variable : ndarray of bool, shape (n_pairs,)
    is_opposite : ndarray of bool, shape (n_pairs,)
        Rolls of the two epochs are opposite.
    """

    columns: Columns
    group_index: IntArray
    is_variable: BoolArray
    is_opposite: BoolArray

    @property
    def is_used(self) -> BoolArray:
        """Whether each pair enters the fit."""
        return self.is_opposite & ~self.is_variable

    @property
    def dmag(self) -> npt.NDArray[np.float64]:
        """Later - earlier magnitude [mag]."""
        return np.asarray(self.columns["mag_j"] - self.columns["mag_i"])


def mixed_software(images: list[CatalogImage], eras: tuple[SoftwareEra, ...]) -> str:
    """Name the images whose versions of the pipeline cannot stand beside each other."""
    product = "i2d" if images[0].image_kind == ExposureKind.I2D else "cal"
    return software_conflict(eras, product, {image.file_name: image.cal_ver for image in images})


def _two_reductions(inputs: KeyInputs) -> str:
    """Tell of mosaics of one array and epoch that were made by different pipeline versions."""
    versions: dict[tuple[int, str], set[str]] = {}
    for image in inputs.images:
        versions.setdefault((image.epoch_id, image.array), set()).add(image.cal_ver)
    for (_, array), found in sorted(versions.items()):
        if len(found) > 1:
            return (
                f"{array} has images of one epoch made by CAL_VER {' and '.join(sorted(found))}: "
                "the same photons would count twice; keep one reduction per registry"
            )
    return ""


def _select_pairs(inputs: KeyInputs, columns: Columns) -> _SelectedPairs:
    """Take a key's pairs out of those read, relate them to its groups, mark the variable ones."""
    group_ids = np.array([group.id for group in inputs.groups], dtype=np.int64)
    is_mine = np.isin(columns["group_id"], group_ids)
    columns = {name: values[is_mine] for name, values in columns.items()}
    order = np.argsort(group_ids)
    group_index = order[np.searchsorted(group_ids[order], columns["group_id"])]
    is_opposite = np.array(
        [group.relation == RollRelation.OPPOSITE for group in inputs.groups], dtype=np.bool_
    )[group_index]
    is_variable = mark_variable(columns, inputs.variable)
    return _SelectedPairs(columns, group_index, is_variable, is_opposite)


def _build_nodes(inputs: KeyInputs, selected: _SelectedPairs, instrument: Instrument) -> Nodes:
    """Turn pairs into the distinct detections that the model is fitted to.

    A detection that several pairs share becomes one node. Patch p is the sky that module B sees at
    epochs where it lies toward +d.
    """
    is_used = selected.is_used
    columns = {name: values[is_used] for name, values in selected.columns.items()}
    group_index = selected.group_index[is_used]
    epoch_order = {epoch_id: n for n, epoch_id in enumerate(inputs.epoch_ids)}
    side = {
        image.catalog_id: module_side(image.roll_deg, inputs.axis, instrument, image.array_id)
        for image in inputs.images
    }
    catalog_i, catalog_j = (
        np.array([getattr(group, f"catalog_{end}_id") for group in inputs.groups], dtype=np.int64)
        for end in ("i", "j")
    )
    detections = np.concatenate(
        [
            catalog_ids[group_index] * _NUMBERS_PER_CATALOG + columns[f"number_{end}"]
            for end, catalog_ids in (("i", catalog_i), ("j", catalog_j))
        ]
    )
    source = _link_sources(columns, detections, inputs.settings.max_sep_arcsec)
    parts: dict[str, list[npt.NDArray[np.generic]]] = {}
    for end, catalog_ids in (("i", catalog_i), ("j", catalog_j)):
        images = [inputs.images_by_catalog[catalog_id] for catalog_id in catalog_ids]
        is_module_a = np.array([image.module == "A" for image in images], dtype=np.bool_)
        orientation = np.array([side[catalog_id] for catalog_id in catalog_ids], dtype=np.int64)
        epoch = np.array([epoch_order[image.epoch_id] for image in images], dtype=np.int64)
        part = {
            "source_id": source,
            "is_patch_p": (is_module_a == (orientation < 0))[group_index],
            "epoch": epoch[group_index],
            "is_module_a": is_module_a[group_index],
            "mag": columns[f"mag_{end}"],
            "mag_err": columns[f"mag_err_{end}"],
        }
        for name, values in part.items():
            parts.setdefault(name, []).append(values)
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    first = _first_of_each(joined["source_id"], joined["is_patch_p"], detections)
    nodes = {name: values[first] for name, values in joined.items()}
    return Nodes(
        **nodes,
        d_arcmin=_source_coordinates(columns, source, nodes["source_id"], inputs.axis),
        epoch_labels=tuple(inputs.epoch_names[epoch_id] for epoch_id in inputs.epoch_ids),
    )


def _first_of_each(*keys: npt.NDArray[np.generic]) -> IntArray:
    """Return where each combination of keys stands first, in the order of the combinations."""
    order = np.lexsort(keys[::-1])
    is_new = np.zeros(order.size, dtype=np.bool_)
    is_new[:1] = True
    for key in keys:
        ordered = key[order]
        is_new[1:] |= ordered[1:] != ordered[:-1]
    return order[is_new]


def _link_sources(columns: Columns, detections: IntArray, max_sep_arcsec: float) -> IntArray:
    """Return the source of every pair, from the key's own pairs alone.

    Pairs that share a detection are of one source, and so are those at one place on both patches.
    The sources of the registry will not do: they depend on other bands, and on the order of ingest.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_pairs = columns["ra_deg"].size
    distinct, index = np.unique(detections, return_inverse=True)
    ends = index.reshape(2, n_pairs)
    graph = coo_array(
        (np.ones(n_pairs, dtype=np.int8), (ends[0], ends[1])), shape=(len(distinct),) * 2
    )
    n_linked, label = connected_components(graph, directed=False)
    linked = label[ends[0]]
    vectors = unit_vectors(columns["ra_deg"], columns["dec_deg"])
    mean = np.zeros((n_linked, 3))
    np.add.at(mean, linked, vectors)
    nothing = np.empty(0)
    places = assign_sources(*sky_position(mean), nothing, nothing, max_sep_arcsec=max_sep_arcsec)
    source: IntArray = places.index[linked]
    return source


def _source_coordinates(
    columns: Columns, source: IntArray, wanted: IntArray, axis: FieldAxis
) -> npt.NDArray[np.float64]:
    """Return the coordinate d [arcmin] of the wanted sources, from the mean of their pairs."""
    d_arcmin = along_axis(columns["ra_deg"], columns["dec_deg"], axis)
    n_pairs = np.maximum(np.bincount(source), 1)
    return np.asarray((np.bincount(source, d_arcmin) / n_pairs)[wanted])


# --- rows -----------------------------------------------------------------------------------------


def _set_row(inputs: KeyInputs, selected: _SelectedPairs, fit: PairFit) -> Row:
    """Lay out a set's own row, but for its id, version and times."""
    first = inputs.images[0]
    is_equal_roll = ~selected.is_opposite & ~selected.is_variable
    check = measure_time_check(selected.dmag[is_equal_roll])
    return {
        "field_id": first.field_id,
        "pmap_id": first.pmap_id,
        "filter": first.filter,
        "pupil": first.pupil,
        "band": first.band,
        "array_id": first.array_id,
        "image_kind": first.image_kind,
        "flux_kind": first.flux_kind,
        "aperture": first.aperture,
        "model": MODEL_NAME,
        "model_version": MODEL_VERSION,
        "datum": DATUM,
        "settings": inputs.settings.canonical_json(),
        "input_digest": inputs.digest,
        "axis_pa_deg": inputs.axis.pa_deg,
        "origin_ra_deg": inputs.axis.origin_ra_deg,
        "origin_dec_deg": inputs.axis.origin_dec_deg,
        "n_epochs": fit.n_epochs,
        "n_pairs": fit.n_pairs,
        "n_sources": fit.n_sources,
        "n_clipped": int((selected.is_opposite & selected.is_variable).sum()),
        "floor_mag": fit.floor_mag,
        "scatter_mag": fit.scatter_mag,
        "chi2": fit.chi2,
        "n_dof": fit.n_dof,
        "corr_offset_slope": fit.corr_offset_slope,
        "pivot_arcmin": fit.pivot_arcmin,
        "offset_pivot_mag": fit.offset_pivot_mag,
        "offset_pivot_err_mag": fit.offset_pivot_err_mag,
        "offset_bootstrap_err_mag": fit.offset_bootstrap_err_mag,
        "check_time_mag": _or_none(check.median_mag),
        "check_time_err_mag": _or_none(check.median_err_mag),
    }


def _coefficient_rows(fit: PairFit) -> list[Row]:
    """Lay out the coefficients."""
    return [
        {"name": name, "value": float(value), "err": float(err), "unit": unit}
        for name, value, err, unit in zip(fit.names, fit.values, fit.errs, fit.units, strict=True)
    ]


def _covariance_rows(fit: PairFit) -> list[Row]:
    """Lay out the upper triangle of the covariance, diagonal included."""
    return [
        {"name_1": name_1, "name_2": fit.names[n_2], "value": float(fit.covariance[n_1, n_2])}
        for n_1, name_1 in enumerate(fit.names)
        for n_2 in range(n_1, len(fit.names))
    ]


def _input_rows(inputs: KeyInputs, selected: _SelectedPairs) -> list[Row]:
    """Lay out the groups of the fit with their statistics under its selection."""
    is_steady = ~selected.is_variable
    dmag, of_group = selected.dmag[is_steady], selected.group_index[is_steady]
    n_groups = len(inputs.groups)
    median_mag = median_by_group(dmag, of_group, n_groups)
    mad_mag = mad_by_group(dmag, of_group, median_mag, n_groups)
    n_pairs = np.bincount(of_group, minlength=n_groups)
    return [
        {
            "group_id": group.id,
            "n_used": int(n) if group.relation == RollRelation.OPPOSITE else 0,
            "median_mag": _or_none(float(median)),
            "mad_mag": _or_none(float(mad)),
        }
        for group, n, median, mad in zip(inputs.groups, n_pairs, median_mag, mad_mag, strict=True)
    ]


def _or_none(value: float) -> float | None:
    """Return None for NaN."""
    return None if np.isnan(value) else value


def make_set_id(input_digest: str, version: int) -> str:
    """Return the id of a set: the same inputs and version give the same id in every registry."""
    return str(uuid.uuid5(_SET_NAMESPACE, f"{input_digest} {version}"))
