"""Robust weighted least squares with one eliminated unknown per block, and a fitted noise floor.

The unknown of a block (a source's magnitude) is removed from its rows, so that blocks are
independent and every quantity is a sum over blocks. All sums run over blocks in the order given:
callers who need an answer that does not depend on the order of their input sort first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import DegenerateFitError, FitRefusedError

if TYPE_CHECKING:
    from calreg.domain import BoolArray, IntArray
    from calreg.units import FloatArray

HUBER_THRESHOLD = 1.345
"""For one degree of freedom; 95 % efficient for normal errors (Huber 1981, section 4.4)."""

N_RESAMPLES = 400
"""Bootstrap resamples; the error of an error is then 1 / sqrt(2 * 400) = 3.5 %."""

_MAX_ITERATIONS = 500
_ROUNDING_OF_LOSS = 1e-9
_LEAST_SCATTER2 = 1e-20
_SMALLEST_DECREMENT2 = 1e-25
"""Squared last step over its error: far below the rounding of a magnitude."""

_SMALLEST_EIGENVALUE = 1e-8
"""Of the normal matrix with unit diagonal: below it, errors are 10 000 times those of one term."""


@dataclass(frozen=True)
class BlockSystem:
    """Rows ``values = design @ coefficients + block unknown + noise``, grouped into blocks.

    Attributes
    ----------
    names : tuple of str
        One per column of `design`.
    design : ndarray of float64, shape (n_rows, n_names)
        In natural units; the solver scales every column to [-1, 1].
    values : ndarray of float64, shape (n_rows,)
        Magnitudes [mag]; finite.
    variance : ndarray of float64, shape (n_rows,)
        Squared error without the floor [mag^2]; positive.
    starts : ndarray of int64, shape (n_blocks,)
        First row of every block; a block has two rows or more.
    """

    names: tuple[str, ...]
    design: FloatArray
    values: FloatArray
    variance: FloatArray
    starts: IntArray

    @property
    def sizes(self) -> IntArray:
        """Number of rows of every block, shape (n_blocks,)."""
        return np.diff(self.starts, append=self.values.size)


@dataclass(frozen=True)
class BlockSolution:
    """A solved `BlockSystem`.

    Attributes
    ----------
    coefficients, errs, bootstrap_errs : ndarray of float64, shape (n_names,)
        Values, standard errors and bootstrap standard errors, in natural units.
    covariance : ndarray of float64, shape (n_names, n_names)
    floor_mag, floor_err_mag : float
        Noise floor of a pair of rows and its error [mag]; the error is 0 for a floor that was
        given, and the root of the error of floor**2 where the floor is not above it.
    block_weights : ndarray of float64, shape (n_blocks,)
        Huber weights in (0, 1].
    residuals : ndarray of float64, shape (n_rows,)
        Residuals with the block unknown removed [mag].
    chi2 : float
        Squared residuals over noise, floor included, without robust weights.
    """

    coefficients: FloatArray
    errs: FloatArray
    bootstrap_errs: FloatArray
    covariance: FloatArray
    floor_mag: float
    floor_err_mag: float
    block_weights: FloatArray
    residuals: FloatArray
    chi2: float
    n_dof: int


@dataclass(frozen=True)
class HuberSolution:
    """Huber's loss of block distances at one point.

    Attributes
    ----------
    coefficients : ndarray of float64, shape (n,)
    distance2 : ndarray of float64, shape (n_blocks,)
        Squared distances D^2.
    weights : ndarray of float64, shape (n_blocks,)
        ``min(1, c / D)``.
    loss : float
        Sum of D^2 / 2 up to D = c and of c D - c^2 / 2 beyond.
    gradient : ndarray of float64, shape (n,)
        Downhill.
    normal, hessian : ndarray of float64, shape (n, n)
        Reweighted normal matrix, and second derivatives of the loss.
    """

    coefficients: FloatArray
    distance2: FloatArray
    weights: FloatArray
    loss: float
    gradient: FloatArray
    normal: FloatArray
    hessian: FloatArray

    @property
    def gradient_size(self) -> float:
        """Squared gradient over the diagonal of the normal matrix."""
        return float(np.sum(self.gradient**2 / np.diag(self.normal)))


@dataclass(frozen=True)
class _Profile:
    """The fit at one value of the floor."""

    huber: HuberSolution
    gram: FloatArray
    residuals: FloatArray
    scores: FloatArray
    """Per block, the slope of the robust likelihood along floor**2, up to a factor."""
    observed: float
    expected: float


@cache
def huber_threshold(n_dof: int) -> float:
    """Return the Huber threshold on the distance of a block.

    Parameters
    ----------
    n_dof : int
        Degrees of freedom of the block, one or more.

    Returns
    -------
    float
        In units of the noise; 1.345 for one degree of freedom.

    Notes
    -----
    The distance of a clean block is chi distributed. The threshold has the same tail probability
    for all `n_dof` as 1.345 has for one.
    """
    from scipy import special

    tail_probability = float(special.erfc(HUBER_THRESHOLD / np.sqrt(2.0)))
    return float(np.sqrt(2.0 * special.gammainccinv(n_dof / 2.0, tail_probability)))


@cache
def huber_variance(n_dof: int) -> float:
    """Return ``E[min(D, c)^2] / n_dof`` for a clean block, the constant of Huber's Proposal 2."""
    from scipy import special

    half, half_c2 = n_dof / 2.0, huber_threshold(n_dof) ** 2 / 2.0
    inside = n_dof * special.gammainc(half + 1.0, half_c2)
    outside = 2.0 * half_c2 * special.gammaincc(half, half_c2)
    return float((inside + outside) / n_dof)


def solve_huber(gram: FloatArray, thresholds: FloatArray, start: FloatArray) -> HuberSolution:
    """Minimise the sum of Huber losses of block distances.

    Parameters
    ----------
    gram : ndarray of float64, shape (n + 1, n + 1, n_blocks)
        Weighted products of the columns ``[design, values]`` of every block.

    Raises
    ------
    FitRefusedError
        If the iteration does not settle (the loss is convex, so this means broken input).
    """
    current = _evaluate_huber(gram, thresholds, start)
    for _ in range(_MAX_ITERATIONS):
        # Newton's step lands on the minimum once the clipped blocks are known; the reweighted step
        # always goes down, and serves where Newton's does not.
        for matrix in (current.hessian, current.normal):
            try:
                step = np.linalg.solve(matrix, current.gradient)
            except np.linalg.LinAlgError:
                continue
            decrement2 = abs(float(step @ current.gradient))
            if decrement2 <= _SMALLEST_DECREMENT2:
                return current
            updated = _evaluate_huber(gram, thresholds, current.coefficients + step)
            # Below the rounding of the loss only the gradient tells which point is better.
            if decrement2 > _ROUNDING_OF_LOSS * (1.0 + current.loss):
                is_better = updated.loss < current.loss
            else:
                is_better = updated.gradient_size < current.gradient_size
            if is_better:
                break
        else:
            return current
        current = updated
    msg = (
        f"the robust fit of {thresholds.size} blocks did not settle in {_MAX_ITERATIONS} steps: "
        "check the magnitudes and errors of the catalogs"
    )
    raise FitRefusedError(msg)


def _evaluate_huber(
    gram: FloatArray, thresholds: FloatArray, coefficients: FloatArray
) -> HuberSolution:
    """Return the loss at given coefficients with its derivatives."""
    pulls = np.append(-coefficients, 1.0) @ gram
    slopes = pulls[:-1]
    distance2 = np.maximum(pulls[-1] - coefficients @ slopes, 0.0)
    distance = np.sqrt(distance2)
    weights = thresholds / np.maximum(distance, thresholds)
    is_clipped = weights < 1.0
    size = len(gram)
    normal = (gram.reshape(size**2, -1) @ weights).reshape(size, size)[:-1, :-1]
    clipped_slopes = slopes[:, is_clipped]
    outer = clipped_slopes * (weights[is_clipped] / distance2[is_clipped])
    inner = np.minimum(distance, thresholds)
    return HuberSolution(
        coefficients=coefficients,
        distance2=distance2,
        weights=weights,
        loss=float(inner @ (distance - 0.5 * inner)),
        gradient=slopes @ weights,
        normal=normal,
        hessian=normal - outer @ clipped_slopes.T,
    )


def solve_blocks(system: BlockSystem, *, floor_mag: float | None, seed: int) -> BlockSolution:
    """Fit the coefficients and, when it is not given, the noise floor.

    Parameters
    ----------
    system : BlockSystem
        At least one more row than blocks and coefficients together.
    floor_mag : float or None
        Noise floor of a pair of rows [mag], None to fit it.

    Raises
    ------
    DegenerateFitError
        If the data do not fix a combination of the coefficients; the message names it.
    FitRefusedError
        If the iteration does not settle.

    Notes
    -----
    With row weights w = 1 / (variance + floor^2 / 2), so that a pair has variance_1 + variance_2 +
    floor^2, the weighted mean of a block is removed from its rows. D^2 = sum w r^2 of a block with
    n rows is chi-squared with n - 1 degrees of freedom; the Huber weight is u = min(1, c / D).

    The floor is the maximum of the restricted likelihood, made robust as in Huber's Proposal 2: the
    derivative along floor^2 is the sum over blocks of
    ``u^2 sum(w^2 r^2) - b (1 - p / n) (sum(w) - sum(w^2) / sum(w))``, b from `huber_variance`, p
    coefficients and n degrees of freedom; bounded influence keeps 5 % of outliers from feeding it.

    The covariance is ``nu / (nu - 2) K^2 s^2 / g^2`` times the inverse of the weighted normal
    matrix, with s^2 the mean of u^2 D^2 per degree of freedom, g the mean derivative of u D,
    K = 1 + p var(g) / (n g^2), and nu = n - p: the variance of Student's t, because s^2 is
    estimated from the same data.

    References
    ----------
    Huber (1981), Robust Statistics, sections 6.5 (K), 7.6 and 7.7 (Proposal 2).
    Rubin (1981), Annals of Statistics 9, 130 (exponential weights of the bootstrap).
    """
    scale = np.abs(system.design).max(axis=0)
    require_full_rank(system, scale)
    fitter = _Fitter(system, scale)
    if floor_mag is None:
        floor2, floor2_err = fitter.fit_floor2()
        floor = float(np.sqrt(floor2))
        floor_err = (
            floor2_err / (2.0 * floor) if floor2 > floor2_err else float(np.sqrt(floor2_err))
        )
    else:
        floor, floor_err = float(floor_mag), 0.0
    profile = fitter.profile(floor**2)
    covariance = fitter.covariance(profile) / np.outer(scale, scale)
    return BlockSolution(
        coefficients=profile.huber.coefficients / scale,
        errs=np.sqrt(np.diag(covariance)),
        bootstrap_errs=fitter.bootstrap_errs(profile, seed) / scale,
        covariance=covariance,
        floor_mag=floor,
        floor_err_mag=floor_err,
        block_weights=profile.huber.weights,
        residuals=profile.residuals,
        chi2=float(profile.huber.distance2.sum()),
        n_dof=fitter.n_free,
    )


def require_full_rank(system: BlockSystem, scale: FloatArray) -> None:
    """Refuse a system whose data leave a combination of its coefficients open.

    Parameters
    ----------
    scale : ndarray of float64, shape (n_names,)
        Largest absolute value of every design column.

    Raises
    ------
    DegenerateFitError
        Names the combination, of columns scaled to equal norm.
    """
    is_empty = scale <= 0.0
    columns = system.design / np.where(is_empty, 1.0, scale)
    means = np.add.reduceat(columns, system.starts, axis=0) / system.sizes[:, None]
    columns = columns - np.repeat(means, system.sizes, axis=0)
    norms = np.sqrt((columns**2).sum(axis=0))
    is_empty |= norms <= np.sqrt(_SMALLEST_EIGENVALUE)
    if is_empty.any():
        name = system.names[int(np.argmax(is_empty))]
        msg = f"the data do not constrain {name}: no two detections of one source differ in it"
        raise DegenerateFitError(msg)
    columns = columns / norms
    eigenvalues, vectors = np.linalg.eigh(columns.T @ columns)
    if eigenvalues[0] < _SMALLEST_EIGENVALUE:
        combination = describe_combination(vectors[:, 0], system.names)
        msg = (
            f"singular normal equations: the data do not constrain {combination} (columns of equal "
            "norm); leave one of these terms out or add sources elsewhere in the field"
        )
        raise DegenerateFitError(msg)


def describe_combination(vector: FloatArray, names: tuple[str, ...]) -> str:
    """Write a direction in coefficient space in words, ``0.71 slope - 0.71 time:2``.

    Parameters
    ----------
    vector : ndarray of float64, shape (n_names,)
        Unit vector; parts below 0.05 are left out and the first part is made positive.
    """
    parts = [(float(part), name) for part, name in zip(vector, names, strict=True)]
    parts = [(part, name) for part, name in parts if abs(part) >= 0.05]
    sign = 1.0 if parts[0][0] > 0.0 else -1.0
    text = f"{sign * parts[0][0]:.2f} {parts[0][1]}"
    for part, name in parts[1:]:
        text += f" {'+' if sign * part > 0.0 else '-'} {abs(part):.2f} {name}"
    return text


class _Fitter:
    """A system in scaled columns, with what does not change between values of the floor."""

    def __init__(self, system: BlockSystem, scale: FloatArray) -> None:
        self._starts = system.starts
        self._sizes = system.sizes
        self._variance = system.variance
        # Columns first: the sums over a few rows each run along contiguous memory.
        columns = np.vstack([(system.design / scale).T, system.values])
        means = np.add.reduceat(columns, self._starts, axis=1) / self._sizes
        self._columns = columns - np.repeat(means, self._sizes, axis=1)
        block_dof = self._sizes - 1
        # Sizes are few; look each up once.
        distinct, index = np.unique(block_dof, return_inverse=True)
        self._thresholds = np.array([huber_threshold(int(n)) for n in distinct])[index]
        self._huber_variances = np.array([huber_variance(int(n)) for n in distinct])[index]
        self._block_dof = block_dof.astype(np.float64)
        self._n_dof = int(block_dof.sum())
        self._n_coefficients = len(system.names)
        self.n_free = self._n_dof - self._n_coefficients
        self._start = np.zeros(self._n_coefficients)

    def profile(self, floor2: float) -> _Profile:
        """Fit the coefficients at one floor**2 [mag^2]."""
        row_weights = 1.0 / (self._variance + 0.5 * floor2)
        sums = np.add.reduceat(row_weights, self._starts)
        means = np.add.reduceat(row_weights * self._columns, self._starts, axis=1) / sums
        columns = self._columns - np.repeat(means, self._sizes, axis=1)
        products = (row_weights * columns)[:, None, :] * columns[None, :, :]
        gram = np.add.reduceat(products, self._starts, axis=2)
        huber = solve_huber(gram, self._thresholds, self._start)
        self._start = huber.coefficients
        residuals = np.append(-huber.coefficients, 1.0) @ columns
        squares = np.add.reduceat((row_weights * residuals) ** 2, self._starts)
        expected = sums - np.add.reduceat(row_weights**2, self._starts) / sums
        expected *= self._huber_variances * (self.n_free / self._n_dof)
        observed = huber.weights**2 * squares
        return _Profile(
            huber=huber,
            gram=gram,
            residuals=residuals,
            scores=observed - expected,
            observed=float(observed.sum()),
            expected=float(expected.sum()),
        )

    def fit_floor2(self) -> tuple[float, float]:
        """Return floor**2 and its error [mag^2]; zero where the scatter asks for less."""
        least = 2.0 * float(np.median(self._variance))

        # The logarithm of observed over expected squares is nearly linear in the logarithm of the
        # whole variance: few steps. The root finder asks for the ends of the bracket again.
        @cache
        def excess(log_variance: float) -> float:
            profile = self.profile(max(math.exp(log_variance) - least, 0.0))
            ratio = profile.observed / profile.expected
            return math.log(ratio) if ratio > 0.0 else -math.inf

        squares = np.add.reduceat(self._columns[-1] ** 2, self._starts) / self._block_dof
        typical = 2.0 * float(np.median(squares))
        lowest = math.log(least)
        bounds = [math.log(least + 0.125 * typical), math.log(least + typical)]
        while excess(bounds[-1]) > 0.0:
            bounds.append(bounds[-1] + 1.5)
        while bounds[0] > lowest and excess(bounds[0]) <= 0.0:
            bounds.insert(0, max(bounds[0] - 3.0, lowest))
        floor2 = 0.0
        if excess(bounds[0]) > 0.0:
            from scipy.optimize import brentq

            is_above = [excess(bound) <= 0.0 for bound in bounds]
            last = is_above.index(True)
            root = brentq(excess, bounds[last - 1], bounds[last], xtol=1e-11, rtol=1e-14)
            floor2 = max(math.exp(root) - least, 0.0)
        step = 1e-3 * (floor2 + least)
        beyond, here = self.profile(floor2 + step), self.profile(floor2)
        slope = (beyond.observed - beyond.expected - here.observed + here.expected) / step
        return floor2, float(np.sqrt((here.scores**2).sum())) / abs(slope)

    def covariance(self, profile: _Profile) -> FloatArray:
        """Return the covariance of the scaled coefficients."""
        is_clipped = profile.huber.weights < 1.0
        derivative = np.where(
            is_clipped, profile.huber.weights * (self._block_dof - 1.0) / self._block_dof, 1.0
        )
        share = self._block_dof / self._n_dof
        mean = float(derivative @ share)
        spread2 = float((derivative - mean) ** 2 @ share)
        inflation = 1.0 + self._n_coefficients * spread2 / (self._n_dof * mean**2)
        scatter2 = float((profile.huber.weights**2 * profile.huber.distance2).sum()) / self.n_free
        # Data without any scatter (made, not measured) keep a covariance with correlations.
        scatter2 = max(scatter2, _LEAST_SCATTER2)
        normal = profile.gram[:-1, :-1].sum(axis=2)
        # s^2 is itself estimated: the pulls are Student's t, whose variance is nu / (nu - 2).
        spread = self.n_free / max(self.n_free - 2.0, 1.0)
        covariance = np.linalg.inv(normal) * (spread * inflation**2 * scatter2 / mean**2)
        symmetric: FloatArray = 0.5 * (covariance + covariance.T)
        return symmetric

    def bootstrap_errs(self, profile: _Profile, seed: int) -> FloatArray:
        """Return the scatter of one Newton step from the solution over reweighted blocks."""
        contrast = np.append(-profile.huber.coefficients, 1.0)
        weights = profile.huber.weights
        pulls = (contrast @ profile.gram)[:-1]
        is_clipped: BoolArray = weights < 1.0
        distance2 = np.where(is_clipped, profile.huber.distance2, np.inf)
        outer = pulls[:, None, :] * pulls[None, :, :] / distance2
        hessians = weights * (profile.gram[:-1, :-1] - outer)
        n, n_blocks = pulls.shape
        # Exponential weights never leave a patch or an epoch empty, as drawing blocks can.
        draws = np.random.default_rng(seed).standard_exponential((N_RESAMPLES, n_blocks))
        matrices = (draws @ hessians.reshape(n * n, -1).T).reshape(-1, n, n)
        gradients = draws @ (weights * pulls).T
        steps = np.linalg.solve(matrices, gradients[:, :, None])[:, :, 0]
        errs: FloatArray = steps.std(axis=0, ddof=1)
        return errs
