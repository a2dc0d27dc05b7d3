"""The pair model: modules A and B compared through sources that both saw.

One key (field, pmap, band, array id) has detections n of sources s in epochs e::

    m_n = M_s + c_n Delta_AB - 0.5 o_e k d_n + T_e + noise

c = +0.5 in module A and -0.5 in module B; o_e = +1 when module B lies toward +d at the roll of
epoch e, else -1. Later minus earlier, a pair of opposite rolls is the paper's ``k d + Delta_AB +
Delta_T`` on the patch seen by B then A, and ``k d - Delta_AB + Delta_T`` on the other (Ma et al.,
Eq. 9 and 10), for pairs whose earlier epoch has o = +1. A new term of the model is one entry of
`TERMS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError, MissingPatchError, NotEnoughPairsError
from calreg.science.model.offsets import ROBUST_SCATTER_PER_MAD
from calreg.science.model.settings import FitSettings
from calreg.science.model.solve import BlockSolution, BlockSystem, solve_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from calreg.domain import BoolArray, IntArray
    from calreg.units import FloatArray

__all__ = [
    "DATUM",
    "MIN_BLOCKS_PER_PATCH",
    "MODEL_NAME",
    "MODEL_VERSION",
    "TERMS",
    "FitSettings",
    "Nodes",
    "PairFit",
    "Term",
    "fit_pair_model",
]

MODEL_NAME = "pair"
MODEL_VERSION = 1
"""Counts changes of the code that change a result; sets of another version are stale."""

DATUM = "B"
"""What is held at zero: module B, as in the paper's section 5.2."""

MIN_BLOCKS_PER_PATCH = 5
"""Below this the median of a patch, hence a Huber fit, cannot tell an outlier from the rest."""

_EXTRA_BLOCKS = 2


# --- input --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nodes:
    """Detections of one key; every array has shape (n_nodes,).

    Several detections of a source in one epoch (catalogs of single dithers) are several nodes; a
    detection is one node however many pairs it is in.

    Attributes
    ----------
    is_patch_p : ndarray of bool
        True on patch p, which module B sees at epochs with o = +1, module A at epochs with o = -1.
    epoch : ndarray of int64
        Index into `epoch_labels`.
    mag, mag_err : ndarray of float64
        AB magnitude and its error [mag]; finite, the error positive.
    d_arcmin : ndarray of float64
        Tangent-plane coordinate along the field's axis [arcmin], finite.
    epoch_labels : tuple of str
        In order of time.

    Raises
    ------
    InvalidValueError
        If lengths differ, a number cannot be used, or an epoch has two rolls.
    """

    source_id: IntArray = field(repr=False)
    is_patch_p: BoolArray = field(repr=False)
    epoch: IntArray = field(repr=False)
    is_module_a: BoolArray = field(repr=False)
    mag: FloatArray = field(repr=False)
    mag_err: FloatArray = field(repr=False)
    d_arcmin: FloatArray = field(repr=False)
    epoch_labels: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse input that would give a number without meaning."""
        n_nodes = self.source_id.size
        for entry in fields(self)[:-1]:
            shape = getattr(self, entry.name).shape
            if shape != (n_nodes,):
                msg = f"nodes: {entry.name} has shape {shape}, expected ({n_nodes},)"
                raise InvalidValueError(msg)
        for name in ("mag", "mag_err", "d_arcmin"):
            n_bad = int(np.count_nonzero(~np.isfinite(getattr(self, name))))
            if n_bad:
                msg = f"nodes: {n_bad} of {n_nodes} values of {name} are not finite"
                raise InvalidValueError(msg)
        if np.any(self.mag_err <= 0.0):
            n_bad = int(np.count_nonzero(self.mag_err <= 0.0))
            msg = f"nodes: {n_bad} of {n_nodes} magnitude errors are not positive"
            raise InvalidValueError(msg)
        if np.any((self.epoch < 0) | (self.epoch >= len(self.epoch_labels))):
            msg = f"nodes: epoch indices must lie in 0 ... {len(self.epoch_labels) - 1}"
            raise InvalidValueError(msg)
        b_is_up = self.b_is_up
        for index, label in enumerate(self.epoch_labels):
            if np.unique(b_is_up[self.epoch == index]).size > 1:
                msg = f"nodes: module B is on two sides of the field in epoch {label}: expected one"
                raise InvalidValueError(msg)

    @property
    def b_is_up(self) -> BoolArray:
        """Whether module B lies toward +d at the node's epoch (o = +1)."""
        return self.is_patch_p ^ self.is_module_a

    @property
    def roll_sign(self) -> FloatArray:
        """The orientation o of the node's epoch, +1 or -1."""
        return np.where(self.b_is_up, 1.0, -1.0)

    def take(self, index: IntArray) -> Nodes:
        """Return the nodes at `index`, in that order."""
        return Nodes(
            source_id=self.source_id[index],
            is_patch_p=self.is_patch_p[index],
            epoch=self.epoch[index],
            is_module_a=self.is_module_a[index],
            mag=self.mag[index],
            mag_err=self.mag_err[index],
            d_arcmin=self.d_arcmin[index],
            epoch_labels=self.epoch_labels,
        )


# --- terms --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    """One term of the model: its coefficients and what each does to a magnitude.

    Attributes
    ----------
    unit : str
        Of the coefficients.
    names : callable
        Nodes -> names of the coefficients.
    columns : callable
        Nodes -> derivative of every magnitude by every coefficient, shape (n_nodes, n_names).
    """

    unit: str
    names: Callable[[Nodes], tuple[str, ...]]
    columns: Callable[[Nodes], FloatArray]


def _fitted_epochs(nodes: Nodes) -> IntArray:
    """Return the epochs that have a time term: all that are present but the first."""
    return np.unique(nodes.epoch)[1:]


TERMS: dict[str, Term] = {
    "offset_ab": Term(
        unit="mag",
        names=lambda _: ("offset_ab",),
        columns=lambda nodes: np.where(nodes.is_module_a, 0.5, -0.5)[:, None],
    ),
    "slope": Term(
        unit="mag / arcmin",
        names=lambda _: ("slope",),
        columns=lambda nodes: (-0.5 * nodes.roll_sign * nodes.d_arcmin)[:, None],
    ),
    "time": Term(
        unit="mag",
        names=lambda nodes: tuple(f"time:{nodes.epoch_labels[e]}" for e in _fitted_epochs(nodes)),
        columns=lambda nodes: (nodes.epoch[:, None] == _fitted_epochs(nodes)).astype(np.float64),
    ),
}
"""Every term that the model knows, in the order of its coefficients."""


# --- result -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairFit:
    """A fitted pair model.

    Attributes
    ----------
    names, units : tuple of str
        Coefficients: ``offset_ab``, ``slope``, ``time:EPOCH``.
    values, errs, bootstrap_errs : ndarray of float64, shape (n_names,)
        Values, standard errors, and standard errors by bootstrap over blocks.
    covariance : ndarray of float64, shape (n_names, n_names)
    floor_mag, floor_err_mag : float
        Noise floor per pair [mag]; error 0 when the floor was given.
    corr_offset_slope : float or None
        None without a slope, as the next three.
    pivot_arcmin : float or None
        Folded coordinate d' (d on patch p, -d on patch q) where offset and slope are uncorrelated.
    offset_pivot_mag, offset_pivot_err_mag : float or None
        ``offset_ab + slope * pivot`` [mag].
    n_pairs : int
        Pairs in the fit: per block, pairs of epochs with opposite rolls.
    n_sources, n_blocks_p, n_blocks_q, n_nodes, n_epochs : int
        Distinct sources, blocks (source on a patch) and detections in the fit.
    n_downweighted : int
        Blocks with a robust weight below one.
    chi2 : float
        Squared residuals over noise, floor included, without robust weights.
    scatter_mag : float
        1.4826 MAD of the residuals of the `n_pairs` pairs [mag].
    weights : ndarray of float64, shape (n_nodes_in,)
        Robust weight of every node given, 0 for nodes without a partner.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: FloatArray
    errs: FloatArray
    bootstrap_errs: FloatArray
    covariance: FloatArray
    floor_mag: float
    floor_err_mag: float
    corr_offset_slope: float | None
    pivot_arcmin: float | None
    offset_pivot_mag: float | None
    offset_pivot_err_mag: float | None
    n_pairs: int
    n_sources: int
    n_blocks_p: int
    n_blocks_q: int
    n_nodes: int
    n_epochs: int
    n_downweighted: int
    chi2: float
    n_dof: int
    scatter_mag: float
    weights: FloatArray = field(repr=False)

    def value(self, name: str) -> float:
        """Return a coefficient, 0 when the model held it fixed."""
        return float(self.values[self.names.index(name)]) if name in self.names else 0.0

    def err(self, name: str) -> float:
        """Return a coefficient's standard error, 0 when the model held it fixed."""
        return float(self.errs[self.names.index(name)]) if name in self.names else 0.0

    @property
    def offset_ab_mag(self) -> float:
        """Offset m_A - m_B at d = 0 [mag]."""
        return self.value("offset_ab")

    @property
    def offset_ab_err_mag(self) -> float:
        """Standard error of `offset_ab_mag` [mag]."""
        return self.err("offset_ab")

    @property
    def offset_bootstrap_err_mag(self) -> float:
        """Bootstrap error of `offset_ab_mag` [mag]."""
        return float(self.bootstrap_errs[self.names.index("offset_ab")])

    @property
    def slope_mag_arcmin(self) -> float:
        """Gradient k along the field's axis [mag / arcmin]."""
        return self.value("slope")

    @property
    def slope_err_mag_arcmin(self) -> float:
        """Standard error of `slope_mag_arcmin` [mag / arcmin]."""
        return self.err("slope")


# --- fit ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Blocks:
    """Nodes in canonical order, grouped by (source, patch), without lonely ones."""

    nodes: Nodes
    index: IntArray
    starts: IntArray
    pair_block: IntArray
    pair_cells: IntArray
    cell_starts: IntArray


def fit_pair_model(nodes: Nodes, settings: FitSettings, *, fit_slope: bool, seed: int) -> PairFit:
    """Fit the pair model to the detections of one key.

    Parameters
    ----------
    nodes : Nodes
        In any order, with any numbering of sources: the result is the same to the last bit.
    settings : FitSettings
        `floor` and `time` are used.
    fit_slope : bool
        Whether the gradient k is fitted, `FitSettings.slope_is_fitted` of the channel.

    Raises
    ------
    NotEnoughPairsError
        If a patch has fewer than 5 sources seen at opposite rolls, or both together no more than
        the coefficients plus 2.
    MissingPatchError
        If there are no pairs on one of the two patches.
    DegenerateFitError
        If the data leave a combination of coefficients open; the message names it.
    FitRefusedError
        If the robust iteration does not settle.

    Notes
    -----
    The magnitude of a source is eliminated per patch, see
    `calreg.science.model.solve.solve_blocks`. For
    a source with one pair this is the fit of the paper's Eq. 9 and 10 with weight 1 / (sigma_1^2 +
    sigma_2^2 + floor^2). A detection shared between pairs (epochs 1-2 and 2-3) counts once.
    """
    blocks = _group_nodes(nodes)
    used = blocks.nodes
    n_blocks_p, n_blocks_q = _require_both_patches(blocks)
    chosen = ["offset_ab"]
    chosen += ["slope"] if fit_slope else []
    chosen += ["time"] if settings.time == "fit" else []
    terms = [(TERMS[name].names(used), TERMS[name]) for name in chosen]
    names = tuple(name for term_names, _ in terms for name in term_names)
    _require_enough_blocks(n_blocks_p, n_blocks_q, len(names))
    system = BlockSystem(
        names=names,
        design=np.hstack([term.columns(used) for _, term in terms]),
        values=used.mag,
        variance=used.mag_err**2,
        starts=blocks.starts,
    )
    solution = solve_blocks(system, floor_mag=settings.floor_mag, seed=seed)
    weights = np.zeros(nodes.source_id.size)
    weights[blocks.index] = np.repeat(solution.block_weights, system.sizes)
    corr, pivot, at_pivot, at_pivot_err = _find_pivot(names, solution)
    return PairFit(
        names=names,
        units=tuple(term.unit for term_names, term in terms for _ in term_names),
        values=solution.coefficients,
        errs=solution.errs,
        bootstrap_errs=solution.bootstrap_errs,
        covariance=solution.covariance,
        floor_mag=solution.floor_mag,
        floor_err_mag=solution.floor_err_mag,
        corr_offset_slope=corr,
        pivot_arcmin=pivot,
        offset_pivot_mag=at_pivot,
        offset_pivot_err_mag=at_pivot_err,
        n_pairs=len(blocks.pair_cells),
        n_sources=int(np.unique(used.source_id).size),
        n_blocks_p=n_blocks_p,
        n_blocks_q=n_blocks_q,
        n_nodes=used.source_id.size,
        n_epochs=int(np.unique(used.epoch).size),
        n_downweighted=int(np.count_nonzero(solution.block_weights < 1.0)),
        chi2=solution.chi2,
        n_dof=solution.n_dof,
        scatter_mag=_pair_scatter(blocks, solution.residuals),
        weights=weights,
    )


def _group_nodes(nodes: Nodes) -> _Blocks:
    """Sort nodes by what was measured, so that no numbering reaches the sums; find the pairs."""
    block_key = np.unique(
        np.column_stack([nodes.source_id, nodes.is_patch_p]), axis=0, return_inverse=True
    )[1].ravel()
    # Within a block by epoch and measurement; equal rows cannot be told apart, nor need they be.
    inner = np.lexsort((nodes.d_arcmin, nodes.mag_err, nodes.mag, nodes.epoch, block_key))
    key = block_key[inner]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    sizes = np.diff(starts, append=key.size)
    is_paired = sizes > 1
    starts, sizes = starts[is_paired], sizes[is_paired]
    if starts.size == 0:
        msg = (
            f"0 pairs in {nodes.source_id.size} detections: expected {MIN_BLOCKS_PER_PATCH} or "
            "more on each patch; a fainter --mag-limit or a lower --snr lets in more"
        )
        raise NotEnoughPairsError(msg)
    # Blocks by patch, place and first measurement; the source number only breaks exact ties.
    first, last = inner[starts], inner[starts + sizes - 1]
    order = np.lexsort(
        (
            nodes.source_id[first],
            nodes.mag[last],
            nodes.mag[first],
            nodes.epoch[first],
            nodes.d_arcmin[first],
            nodes.is_patch_p[first],
        )
    )
    starts, sizes = starts[order], sizes[order]
    new_starts = np.cumsum(sizes) - sizes
    index = inner[np.repeat(starts - new_starts, sizes) + np.arange(sizes.sum())]
    used = nodes.take(index)
    block = np.repeat(np.arange(sizes.size), sizes)
    cell_starts = np.flatnonzero(np.diff(block, prepend=-1) | np.diff(used.epoch, prepend=-1))
    pair_cells = _find_pairs(block[cell_starts], used.b_is_up[cell_starts])
    return _Blocks(
        nodes=used,
        index=index,
        starts=new_starts,
        pair_block=block[cell_starts][pair_cells[:, 0]],
        pair_cells=pair_cells,
        cell_starts=cell_starts,
    )


def _find_pairs(cell_block: IntArray, b_is_up: BoolArray) -> IntArray:
    """Return pairs (earlier, later) of cells of a block with opposite rolls, shape (n_pairs, 2)."""
    cells = np.arange(cell_block.size)
    found = [np.empty((0, 2), dtype=np.int64)]
    for lag in range(1, cells.size):
        is_same = cell_block[lag:] == cell_block[:-lag]
        if not is_same.any():
            break
        early = cells[:-lag][is_same & (b_is_up[lag:] != b_is_up[:-lag])]
        found.append(np.column_stack([early, early + lag]))
    return np.concatenate(found)


def _require_both_patches(blocks: _Blocks) -> tuple[int, int]:
    """Return the numbers of blocks with pairs of opposite rolls on patches p and q."""
    useful = np.unique(blocks.pair_block)
    is_p = blocks.nodes.is_patch_p[blocks.starts][useful]
    n_p, n_q = int(np.count_nonzero(is_p)), int(np.count_nonzero(~is_p))
    if n_p + n_q > 0 and 0 in (n_p, n_q):
        missing, present = ("p", "q") if n_p == 0 else ("q", "p")
        msg = (
            f"patch {missing} has no sources seen at opposite rolls, {present} has {n_p + n_q}: "
            "both are needed to tell the modules from time; ingest the catalogs of the other "
            "module, or let in fainter sources with --mag-limit and --snr"
        )
        raise MissingPatchError(msg)
    return n_p, n_q


def _require_enough_blocks(n_p: int, n_q: int, n_names: int) -> None:
    """Refuse a fit with too few blocks."""
    if min(n_p, n_q) < MIN_BLOCKS_PER_PATCH:
        expected = f"{MIN_BLOCKS_PER_PATCH} on each"
    elif n_p + n_q <= n_names + _EXTRA_BLOCKS:
        expected = f"more than {n_names + _EXTRA_BLOCKS} in all for {n_names} coefficients"
    else:
        return
    msg = (
        f"too few sources seen at opposite rolls: {n_p} on patch p, {n_q} on patch q, expected "
        f"{expected}; a fainter --mag-limit or a lower --snr lets in more"
    )
    raise NotEnoughPairsError(msg)


def _pair_scatter(blocks: _Blocks, residuals: FloatArray) -> float:
    """Return the robust scatter of pair residuals, detections of one epoch averaged [mag]."""
    counts = np.diff(blocks.cell_starts, append=residuals.size)
    means = np.add.reduceat(residuals, blocks.cell_starts) / counts
    pairs = means[blocks.pair_cells[:, 1]] - means[blocks.pair_cells[:, 0]]
    return ROBUST_SCATTER_PER_MAD * float(np.median(np.abs(pairs - np.median(pairs))))


def _find_pivot(
    names: tuple[str, ...], solution: BlockSolution
) -> tuple[float | None, float | None, float | None, float | None]:
    """Return corr(offset, slope), the pivot, the offset there and its error."""
    if "slope" not in names:
        return None, None, None, None
    at, ks = names.index("offset_ab"), names.index("slope")
    var_offset, var_slope = solution.covariance[at, at], solution.covariance[ks, ks]
    cov = solution.covariance[at, ks]
    pivot = -cov / var_slope
    offset = solution.coefficients[at] + solution.coefficients[ks] * pivot
    err = np.sqrt(max(var_offset - cov**2 / var_slope, 0.0))
    return float(cov / np.sqrt(var_offset * var_slope)), float(pivot), float(offset), float(err)
