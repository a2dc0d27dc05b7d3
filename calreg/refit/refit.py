"""Refit: match what is new, fit exactly what is stale, and say what was done and what was not."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from calreg._version import __version__
from calreg.contexts.residuals import PredictionResidual, store_residuals
from calreg.db.engine import savepoint
from calreg.db.queries.acceptances import load_set_states
from calreg.db.queries.exposures import load_epochs
from calreg.db.queries.fitruns import (
    add_fit_run,
    insert_refusal,
    insert_set,
    load_input_groups,
    load_latest_sets,
    load_refusals,
)
from calreg.db.queries.pairs import (
    fetch_pairs,
    has_errors,
    load_catalog_images,
    load_groups,
    load_variable_pairs,
)
from calreg.db.queries.zeropoints import load_timed_files
from calreg.domain import Progress, RollRelation, SetKey, no_progress
from calreg.errors import DatabaseError
from calreg.instruments.software import load_software_eras
from calreg.refit.keyfit import KeyInputs, fit_key, make_set_id, mixed_software
from calreg.refit.pairing import (
    FAILED,
    PairingReport,
    failure_reason,
    group_by_key,
    is_in_use,
    match_new_catalogs,
    plan_matching,
)
from calreg.science.model.pairmodel import MODEL_NAME, MODEL_VERSION
from calreg.science.sky.geometry import field_axis, parse_s_region
from calreg.units import MAG_PER_RELATIVE_FLUX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from calreg.db.engine import Connection, Database
    from calreg.db.queries.fitruns import LatestSet
    from calreg.db.queries.pairs import CatalogImage, StoredGroup
    from calreg.instruments import Instrument
    from calreg.refit.keyfit import Columns
    from calreg.science.model.settings import FitSettings
    from calreg.science.sky.geometry import FieldAxis


_PAIRS_PER_QUERY = 1 << 20
"""Pairs of stale keys that are read together, before the selection."""


@dataclass(frozen=True)
class KeyOutcome:
    """What refit did about one key.

    Attributes
    ----------
    reason : str
        Why it was fitted, left alone or refused.
    offset_ab_mag, offset_ab_err_mag : float or None
    status : str or None
        Of a new set: ``current``, or ``candidate`` where another one is accepted for its context.
    is_new : bool
        Of a refusal: not known from an earlier run.
    """

    field: str
    pmap: str
    band: str
    array_id: str
    image_kind: str
    flux_kind: str
    reason: str
    set_id: str | None = None
    version: int | None = None
    offset_ab_mag: float | None = None
    offset_ab_err_mag: float | None = None
    slope_mag_arcmin: float | None = None
    slope_err_mag_arcmin: float | None = None
    n_pairs: int | None = None
    status: str | None = None
    is_new: bool = False


@dataclass(frozen=True)
class RefitReport:
    """What a refit did.

    Attributes
    ----------
    fitted, unchanged, refused, waiting : list of KeyOutcome
        Fitted anew; left alone because nothing changed; impossible, with the reason; not yet
        possible because there is no pair of epochs with opposite rolls.
    residuals : list of PredictionResidual
        New sets beside what was predicted for them from other contexts.
    warnings : list of str
        What the new sets rest on that a user should know.
    """

    pairing: PairingReport
    fitted: list[KeyOutcome] = field(default_factory=list)
    unchanged: list[KeyOutcome] = field(default_factory=list)
    refused: list[KeyOutcome] = field(default_factory=list)
    waiting: list[KeyOutcome] = field(default_factory=list)
    residuals: list[PredictionResidual] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def refit(
    database: Database,
    settings: FitSettings,
    instrument: Instrument,
    progress: Progress = no_progress,
) -> RefitReport:
    """Match new catalogs and fit every stale key in one transaction; see `Registry.refit`.

    A key is stale when the digest over its pair groups, the pairs left out as variable, the field
    axis (where a slope is fitted), the settings and the model version differs from that of its
    latest set. What goes wrong with one key is that key's refusal.
    """
    with database.write() as connection:
        return _Refit(connection, settings, instrument, progress).execute()


def _batches(
    stale: list[tuple[KeyInputs, LatestSet | None]],
) -> Iterator[list[tuple[KeyInputs, LatestSet | None]]]:
    """Cut keys into batches whose pairs are read in one query, and fit into memory together."""
    batch: list[tuple[KeyInputs, LatestSet | None]] = []
    n_pairs = 0
    for inputs, latest in stale:
        n_own = sum(group.n_matched for group in inputs.groups)
        if batch and n_pairs + n_own > _PAIRS_PER_QUERY:
            yield batch
            batch, n_pairs = [], 0
        batch.append((inputs, latest))
        n_pairs += n_own
    if batch:
        yield batch


class _Refit:
    """One refit: state that its steps share."""

    def __init__(
        self,
        connection: Connection,
        settings: FitSettings,
        instrument: Instrument,
        progress: Progress,
    ) -> None:
        self.connection = connection
        self.settings = settings
        self.instrument = instrument
        self.progress = progress
        self.started_utc = datetime.now(UTC)
        self.epoch_names: dict[int, str] = {}
        self.versions: Counter[str] = Counter()
        self.failed: dict[SetKey, str] = {}
        self.refusals = load_refusals(connection)
        self.states = load_set_states(connection)
        self._fit_run_id: int | None = None

    @property
    def fit_run_id(self) -> int:
        """The id of this run; the run is recorded when something is written."""
        if self._fit_run_id is None:
            self._fit_run_id = add_fit_run(
                self.connection, self.started_utc, self.settings.canonical_json(), __version__
            )
        return self._fit_run_id

    def execute(self) -> RefitReport:
        """Match, find what is stale, fit it."""
        by_key = group_by_key(load_catalog_images(self.connection))
        groups = load_groups(self.connection)
        self.epoch_names = {epoch.id: epoch.name for epoch in load_epochs(self.connection)}
        plan = plan_matching(by_key, groups, self.settings)
        pairing = PairingReport(notes=plan.notes)
        if plan.wanted:
            pairing = match_new_catalogs(
                self.connection,
                plan,
                settings=self.settings,
                epoch_names=self.epoch_names,
                fit_run_id=lambda: self.fit_run_id,
                failed=self.failed,
                progress=self.progress,
            )
            groups = load_groups(self.connection)
        report = RefitReport(pairing)
        stale = self._sort_out(by_key, groups, report)
        n_done = n_without_error = 0
        for batch in _batches(stale):
            pairs = fetch_pairs(
                self.connection,
                [group.id for inputs, _ in batch for group in inputs.groups],
                mag_limit=self.settings.mag_limit,
                mag_err_limit=MAG_PER_RELATIVE_FLUX / self.settings.snr,
            )
            is_used = has_errors(pairs)
            if not is_used.all():
                n_without_error += int((~is_used).sum())
                pairs = {name: values[is_used] for name, values in pairs.items()}
            for inputs, latest in batch:
                self.progress("fitting", n_done, len(stale))
                self._fit(inputs, latest, pairs, report)
                n_done += 1
        if n_without_error:
            pairing.notes.append(
                f"{n_without_error} pairs left out: a magnitude error of 0 or less in the registry"
            )
        self.progress("fitting", len(stale), len(stale))
        self._test_predictions(report)
        report.warnings.extend(f"{text} ({n} new sets)" for text, n in self.versions.items())
        return report

    def _test_predictions(self, report: RefitReport) -> None:
        """Compare the new sets with what other contexts predict."""
        set_ids = {outcome.set_id for outcome in report.fitted if outcome.set_id is not None}
        bands = sorted({outcome.band for outcome in report.fitted})
        report.residuals.extend(store_residuals(self.connection, set_ids, bands, self.instrument))

    def _sort_out(
        self,
        by_key: dict[SetKey, list[CatalogImage]],
        groups: list[StoredGroup],
        report: RefitReport,
    ) -> list[tuple[KeyInputs, LatestSet | None]]:
        """Tell stale keys from the rest; the rest goes into the report."""
        latest_sets = load_latest_sets(self.connection)
        withdrawals = self.states.withdrawals
        stale = []
        for inputs in self._inputs(by_key, groups):
            latest = latest_sets.get(inputs.key)
            refusal = self.refusals.get((inputs.key, inputs.digest), FAILED)
            if inputs.key in self.failed:
                self._refuse(inputs, self.failed[inputs.key], report)
            elif not any(group.relation == RollRelation.OPPOSITE for group in inputs.groups):
                reason = "no two epochs with opposite rolls yet"
                report.waiting.append(_outcome(inputs, reason))
            elif latest is not None and latest.input_digest == inputs.digest:
                reason = "inputs, settings and model unchanged"
                if latest.pk in withdrawals:
                    reason += f"; withdrawn: {withdrawals[latest.pk].reason}"
                report.unchanged.append(_outcome(inputs, reason, version=latest.version))
            elif not refusal.startswith(FAILED):  # What was not foreseen may be mended by now.
                self._refuse(inputs, refusal, report)
            else:
                stale.append((inputs, latest))
        return stale

    def _inputs(
        self, by_key: dict[SetKey, list[CatalogImage]], groups: list[StoredGroup]
    ) -> list[KeyInputs]:
        """Gather what every key would be fitted from, with its digest."""
        variable = load_variable_pairs(self.connection)
        by_catalog = {image.catalog_id: key for key, images in by_key.items() for image in images}
        groups_of: dict[SetKey, list[StoredGroup]] = defaultdict(list)
        for group in groups:
            if is_in_use(group, self.settings):
                groups_of[by_catalog[group.catalog_i_id]].append(group)
        axes = self._axes(by_key)
        timed = load_timed_files(self.connection)
        eras = load_software_eras(self.instrument.name)
        strict = replace(self.settings, allow_mixed_software=False)
        return [
            KeyInputs(
                key=key,
                images=images,
                groups=groups_of[key],
                axis=axes[key],
                fit_slope=self._has_slope(images[0]),
                settings=self.settings if mixed_software(images, eras) else strict,
                variable=variable,
                epoch_names=self.epoch_names,
                timed=timed,
                eras=eras,
            )
            for key, images in sorted(by_key.items(), key=lambda item: _report_order(item[1][0]))
        ]

    def _axes(self, by_key: dict[SetKey, list[CatalogImage]]) -> dict[SetKey, FieldAxis]:
        """Return the axis of every key.

        A gradient is measured along the axis of all arrays of the band. Without one the axis only
        tells the two patches apart: it is the key's own, so that a set depends on nothing but its
        inputs.
        """
        of_band: dict[tuple[int, int, str], set[str]] = defaultdict(set)
        for key, images in by_key.items():
            of_band[key.field_id, key.pmap_id, key.band].update(image.s_region for image in images)
        footprints = {
            region: parse_s_region(region) for regions in of_band.values() for region in regions
        }
        pa_deg = None if self.settings.axis_pa_deg == "auto" else self.settings.axis_pa_deg
        axes: dict[frozenset[str], FieldAxis] = {}
        found: dict[SetKey, FieldAxis] = {}
        for key, images in by_key.items():
            own = {image.s_region for image in images}
            regions = frozenset(
                of_band[key.field_id, key.pmap_id, key.band] if self._has_slope(images[0]) else own
            )
            if regions not in axes:
                axes[regions] = field_axis([footprints[r] for r in sorted(regions)], pa_deg)
            found[key] = axes[regions]
        return found

    def _has_slope(self, image: CatalogImage) -> bool:
        """Tell whether a gradient is fitted to an image's band."""
        return self.settings.slope_is_fitted(self.instrument.band_named(image.band).channel)

    def _fit(
        self, inputs: KeyInputs, latest: LatestSet | None, pairs: Columns, report: RefitReport
    ) -> None:
        """Fit one key and write its set, or the reason why there is none."""
        version = 1 if latest is None else latest.version + 1
        set_id = make_set_id(inputs.digest, version)
        run_before = self._fit_run_id
        try:
            found = fit_key(inputs, pairs, self.instrument)
            with savepoint(self.connection):
                row = found.row | {
                    "set_id": set_id,
                    "version": version,
                    "fit_run_id": self.fit_run_id,
                    "created_utc": datetime.now(UTC),
                }
                set_pk = insert_set(
                    self.connection,
                    row,
                    coefficients=found.coefficients,
                    covariances=found.covariances,
                    inputs=found.inputs,
                )
        except DatabaseError:
            raise
        except Exception as error:
            self._fit_run_id = run_before
            self._refuse(inputs, failure_reason(error), report)
            return
        fit, pmap = found.fit, inputs.images[0].pmap
        self._note_versions(inputs)
        series = inputs.key.series(MODEL_NAME)
        report.fitted.append(
            replace(
                _outcome(inputs, self._why_stale(inputs, latest), version),
                set_id=set_id,
                offset_ab_mag=fit.offset_ab_mag,
                offset_ab_err_mag=fit.offset_ab_err_mag,
                slope_mag_arcmin=fit.slope_mag_arcmin,
                slope_err_mag_arcmin=fit.slope_err_mag_arcmin,
                n_pairs=fit.n_pairs,
                status=self.states.status(set_pk, series, pmap, is_newest=True),
            )
        )

    def _note_versions(self, inputs: KeyInputs) -> None:
        """Count the sets whose images were made by several versions of the pipeline."""
        versions = sorted({image.cal_ver or "unknown" for image in inputs.images})
        if len(versions) > 1:
            first = inputs.images[0]
            what = "" if not inputs.settings.allow_mixed_software else ", of several eras"
            self.versions[
                f"{first.field_name} {first.pmap}: images of one fit were made by CAL_VER "
                f"{' and '.join(versions)}{what}"
            ] += 1

    def _why_stale(self, inputs: KeyInputs, latest: LatestSet | None) -> str:
        """Explain in a few words why a key is fitted."""
        if latest is None:
            return "first fit"
        if latest.model_version != MODEL_VERSION:
            return f"model version {latest.model_version} -> {MODEL_VERSION}"
        if latest.settings != inputs.settings.canonical_json():
            return "settings changed"
        if {group.id for group in inputs.groups} != load_input_groups(self.connection, latest.pk):
            return "new data"
        if inputs.fit_slope:
            return "sources found variable since, or the field's axis moved"
        return "sources found variable since"

    def _refuse(self, inputs: KeyInputs, reason: str, report: RefitReport) -> None:
        """Report why a key has no set, and store it unless it is known."""
        known = self.refusals.get((inputs.key, inputs.digest))
        if known is not None:
            report.refused.append(_outcome(inputs, f"{known} (nothing new since)"))
            return
        insert_refusal(
            self.connection,
            {
                **inputs.key._asdict(),
                "fit_run_id": self.fit_run_id,
                "input_digest": inputs.digest,
                "reason": reason,
                "created_utc": datetime.now(UTC),
            },
        )
        report.refused.append(replace(_outcome(inputs, reason), is_new=True))


def _report_order(image: CatalogImage) -> tuple[str, int, str, str, str, str, str]:
    """Order of keys in reports: field, pmap by its integer, band, array id."""
    return (
        image.field_name,
        image.pmap.number,
        image.band,
        image.array_id,
        image.image_kind,
        image.flux_kind,
        image.aperture,
    )


def _outcome(inputs: KeyInputs, reason: str, version: int | None = None) -> KeyOutcome:
    """Build an outcome without numbers."""
    first = inputs.images[0]
    return KeyOutcome(
        field=first.field_name,
        pmap=first.pmap.name,
        band=first.band,
        array_id=first.array_id,
        image_kind=first.image_kind,
        flux_kind=first.flux_kind,
        reason=reason,
        version=version,
    )
