"""Settings are honoured, and stored with the set."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.queries.sets import SetFilter, load_sets
from calreg.db.schema import PairGroupRow, PairRow, SetInputRow
from calreg.domain import SetQuery
from calreg.errors import InvalidValueError
from calreg.science.model.settings import FitSettings
from calreg.units import MAG_PER_RELATIVE_FLUX
from support.programmes import PMAP, Prepared

if TYPE_CHECKING:
    from calreg.sets.coefficients import CoefficientsRow


def refitted(url: str, settings: FitSettings, band: str = "F444W") -> tuple[CoefficientsRow, ...]:
    """Return the current sets of a band before and after a refit."""
    with Registry(url) as registry:
        before = registry.coefficients(band=band)
        registry.refit(settings)
        after = registry.coefficients(band=band)
    assert {FitSettings(**json.loads(row.settings)) for row in after} == {settings}
    return (*before, *after)


def stored_pairs(url: str, band: str) -> list[sa.Row[tuple[float, ...]]]:
    """Return the clean pairs of opposite rolls of a band."""
    pair, group = PairRow.__table__.c, PairGroupRow.__table__.c
    statement = (
        sa.select(pair.mag_i, pair.mag_j, pair.mag_err_i, pair.mag_err_j, pair.sep_mas)
        .join(PairGroupRow, group.id == pair.group_id)
        .where(group.band == band, group.relation == "opposite", pair.flags == 0)
    )
    with open_database(url, read_only=True) as database, database.read() as connection:
        return list(connection.execute(statement))


def test_a_brighter_limit_uses_fewer_pairs(small_url: str) -> None:
    before, after = refitted(small_url, FitSettings(mag_limit=21.0))
    pairs = stored_pairs(small_url, "F444W")
    expected = sum(
        row.mag_i + row.mag_j < 42.0
        and row.mag_err_i + row.mag_err_j <= 2.0 * MAG_PER_RELATIVE_FLUX / 100.0
        for row in pairs
    )
    assert after.n_pairs + after.n_clipped == expected
    assert 10 < after.n_pairs < before.n_pairs
    assert after.offset_ab_err_mag > before.offset_ab_err_mag


def test_a_higher_signal_to_noise_uses_fewer_pairs(small_url: str) -> None:
    before, after = refitted(small_url, FitSettings(snr=300.0))
    limit = MAG_PER_RELATIVE_FLUX / 300.0
    expected = sum(
        row.mag_i + row.mag_j < 44.0 and row.mag_err_i + row.mag_err_j <= 2.0 * limit
        for row in stored_pairs(small_url, "F444W")
    )
    assert after.n_pairs + after.n_clipped == expected
    assert 10 < after.n_pairs < before.n_pairs


def test_a_smaller_radius_matches_anew(small_url: str) -> None:
    with Registry(small_url) as registry:
        n_groups = registry.stats().n_rows["pair_groups"]
        report = registry.refit(FitSettings(max_sep_arcsec=0.01))
        assert registry.stats().n_rows["pair_groups"] == 2 * n_groups
        assert report.pairing.n_groups == n_groups
        sets = {row.settings for row in registry.coefficients()}
        again = registry.refit(FitSettings(max_sep_arcsec=0.01))
        # The pairs of the other radius are still there: nothing is matched, all is fitted.
        back = registry.refit()
    assert (again.fitted, again.pairing.n_groups) == ([], 0)
    assert (len(back.fitted), back.pairing.n_groups) == (5, 0)
    assert {FitSettings(**json.loads(text)).max_sep_arcsec for text in sets} == {0.01}
    with open_database(small_url, read_only=True) as database, database.read() as connection:
        widest = {
            radius: connection.scalar(
                sa.select(sa.func.max(PairRow.sep_mas))
                .join(PairGroupRow, PairGroupRow.id == PairRow.group_id)
                .where(PairGroupRow.max_sep_arcsec == radius)
            )
            for radius in (0.01, 0.1)
        }
    assert widest[0.01] is not None
    assert widest[0.1] is not None
    assert widest[0.01] <= 10.0 < widest[0.1] <= 100.0


def test_a_given_floor_is_taken_as_it_is(small_url: str) -> None:
    before, after = refitted(small_url, FitSettings(floor=0.02))
    assert after.floor_mag == 0.02
    assert before.floor_mag != 0.02
    with open_database(small_url, read_only=True) as database, database.read() as connection:
        chi2 = {
            row.version: row.chi2 / row.n_dof
            for row in load_sets(connection, SetFilter(SetQuery(band="F444W"), all_versions=True))
        }
    # A floor three times too large explains the scatter many times over.
    assert chi2[2] < 0.5 * chi2[1]


def test_slopes_can_be_switched_off_and_on(small_url: str) -> None:
    before, none = refitted(small_url, FitSettings(slope="none"))
    assert before.slope_err_mag_arcmin > 0.0
    assert (none.slope_mag_arcmin, none.slope_err_mag_arcmin) == (0.0, 0.0)
    assert none.corr_offset_slope is None
    # Without a slope the offset is that in the middle of the sources, and as well known.
    assert before.offset_pivot_mag is not None
    assert none.offset_ab_mag == pytest.approx(before.offset_pivot_mag, abs=0.001)
    rows = refitted(small_url, FitSettings(slope="fit"), band="F200W")
    for row in rows[4:]:
        assert row.slope_err_mag_arcmin > 0.0
        # SIMULATED short arrays have no gradient.
        assert abs(row.slope_mag_arcmin) < 4.0 * row.slope_err_mag_arcmin
        assert abs(row.axis_pa_deg - rows[4].axis_pa_deg) == 0.0


@pytest.mark.parametrize("turn_deg", [180.0, 20.0, -20.0])
def test_a_given_axis_turns_the_gradient(turn_deg: float, small_url: str) -> None:
    with Registry(small_url) as registry:
        (found,) = registry.coefficients(band="F444W")
        registry.refit(FitSettings(axis_pa_deg=found.axis_pa_deg + turn_deg))
        (given,) = registry.coefficients(band="F444W")
    assert given.axis_pa_deg == pytest.approx((found.axis_pa_deg + turn_deg) % 360.0, abs=1e-9)
    if turn_deg == 180.0:
        # Read from its other end, d and the side of module B turn their signs together.
        assert given.slope_mag_arcmin == pytest.approx(found.slope_mag_arcmin, abs=1e-9)
        assert given.offset_ab_mag == pytest.approx(found.offset_ab_mag, abs=1e-9)
        return
    # Sources lie in a field four times as long as wide: along an axis at 20 deg the same change of
    # magnitude takes cos(20 deg) of the way.
    expected = found.slope_mag_arcmin / math.cos(math.radians(turn_deg))
    assert given.slope_mag_arcmin == pytest.approx(expected, abs=2.0 * found.slope_err_mag_arcmin)
    assert np.sign(given.slope_mag_arcmin) == np.sign(found.slope_mag_arcmin)
    assert given.offset_ab_mag == pytest.approx(found.offset_ab_mag, abs=0.002)


def test_inputs_of_a_set_are_its_groups(small: Prepared) -> None:
    with open_database(small.url, read_only=True) as database, database.read() as connection:
        for stored in load_sets(connection, SetFilter()):
            rows = connection.execute(
                sa.select(SetInputRow.__table__, PairGroupRow.relation)
                .join(PairGroupRow, PairGroupRow.id == SetInputRow.group_id)
                .where(SetInputRow.set_pk == stored.pk)
            ).all()
            # Three epochs: 1-2, 2-3 and 1-3, each on two patches.
            assert sorted(row.relation for row in rows) == ["equal"] * 2 + ["opposite"] * 4
            assert sum(row.n_used for row in rows) == stored.n_pairs
            assert all(row.n_used == 0 for row in rows if row.relation == "equal")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mag_limit": 99.0}, "--mag-limit 99: expected a number from -10 to 40"),
        ({"snr": -1.0}, "--snr -1: expected a number from 0"),
        ({"max_sep_arcsec": 0.0}, "--max-sep 0: expected a number from"),
        ({"floor": "some"}, "--floor 'some': expected auto or a number"),
        ({"slope": "yes"}, "--slope 'yes': expected one of auto, none, fit"),
        ({"time": "perhaps"}, "--time 'perhaps': expected one of fix, fit"),
        ({"axis": "north"}, "--axis 'north': expected auto or a number"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        FitSettings.parse(**given)  # type: ignore[arg-type]


def test_a_set_names_its_context(small: Prepared) -> None:
    with Registry(small.url, read_only=True) as registry:
        assert {row.pmap for row in registry.coefficients()} == {PMAP}
