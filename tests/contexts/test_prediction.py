"""Offsets under contexts that nobody measured: values, errors, and honest ignorance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from calreg.contexts.prediction import (
    PredictionQuery,
    load_predictions,
    nearest_prediction,
    require_ok,
)
from calreg.domain import Pmap, SetQuery, Status
from calreg.errors import InvalidValueError, NoCalibrationError
from calreg.instruments import load_instrument
from support.contextrows import ContextRows

if TYPE_CHECKING:
    from calreg.contexts.prediction import Prediction
    from calreg.db.engine import Database

ONE_KEY = {"band": "F200W", "array_id": "1"}


def prediction_query(to: int, given: dict[str, object]) -> PredictionQuery:
    given = {"pmap" if name == "from_pmap" else name: value for name, value in given.items()}
    own = {name: given.pop(name) for name in ("source", "subarray") if name in given}
    measured = SetQuery(**given)  # type: ignore[arg-type]
    return PredictionQuery(Pmap(to), measured, **own)  # type: ignore[arg-type]


def predictions(database: Database, *, to: int, **query: object) -> list[Prediction]:
    with database.read() as connection:
        wanted = prediction_query(to, query)
        return load_predictions(connection, wanted, load_instrument())


def nearest(database: Database, *, to: int, **query: object) -> Prediction:
    with database.read() as connection:
        wanted = prediction_query(to, ONE_KEY | query)
        return nearest_prediction(connection, wanted, load_instrument())


@pytest.fixture
def four_values(database: Database) -> Database:
    """Both arrays under 1130 and 1568, and an offset that was published for 1130."""
    with database.write() as connection:
        rows = ContextRows(connection)
        for pmap, value_a, value_b in (("1130", 2.100, 1.969), ("1568", 2.026, 1.987)):
            rows.photmjsr(pmap, "nrca1", value_a)
            rows.photmjsr(pmap, "nrcb1", value_b)
        rows.solution("1130", -0.05267, 0.00117)
    return database


def test_an_offset_is_carried_by_the_ratio_of_ratios(four_values: Database) -> None:
    [found] = predictions(four_values, from_pmap=Pmap(1130), to=1568)
    change = -2.5 * math.log10((2.026 / 2.100) / (1.987 / 1.969))
    assert found.change_ab_mag == pytest.approx(change, abs=1e-9)
    assert found.predicted_offset_ab_mag == pytest.approx(-0.05267 + change, abs=1e-9)
    assert found.predicted_err_mag == pytest.approx(0.00117, rel=1e-4)
    assert (found.from_pmap, found.to_pmap) == ("jwst_1130.pmap", "jwst_1568.pmap")
    assert (found.filter, found.pupil, found.status) == ("F200W", "CLEAR", Status.OK)
    assert found.basis == "external: published"
    assert require_ok(found).mag == found.predicted_offset_ab_mag


def test_a_missing_value_is_unknown_never_zero(four_values: Database) -> None:
    [found] = predictions(four_values, from_pmap=Pmap(1130), to=1569)
    assert found.status is Status.UNKNOWN
    assert found.predicted_offset_ab_mag is None
    assert found.predicted_err_mag is None
    assert found.change_ab_mag is None
    assert "PHOTMJSR of nrca1 F200W under jwst_1569.pmap is not recorded" in found.reason
    assert "nrcb1" in found.reason
    with pytest.raises(NoCalibrationError, match=r"jwst_1569\.pmap is unknown"):
        require_ok(found)


def test_values_that_disagree_are_a_conflict(four_values: Database) -> None:
    with four_values.write() as connection:
        ContextRows(connection).photmjsr("1568", "nrcb1", 1.990, source="i2d header")
    [found] = predictions(four_values, from_pmap=Pmap(1130), to=1568)
    assert found.status is Status.CONFLICT
    assert found.predicted_offset_ab_mag is None
    assert "1.987 (cal header), 1.99 (i2d header)" in found.reason


def test_the_same_context_needs_no_photmjsr(database: Database) -> None:
    with database.write() as connection:
        ContextRows(connection).solution("1130", 0.013, 0.002)
    [found] = predictions(database, from_pmap=Pmap(1130), to=1130)
    assert (found.predicted_offset_ab_mag, found.predicted_err_mag) == (0.013, 0.002)


def test_nearest_goes_by_the_integer(four_values: Database) -> None:
    with four_values.write() as connection:
        rows = ContextRows(connection)
        rows.solution("999", 0.09, 0.001)
        rows.photmjsr("999", "nrca1", 2.2)
        rows.photmjsr("999", "nrcb1", 2.0)
        rows.photmjsr("1000", "nrca1", 2.2)
        rows.photmjsr("1000", "nrcb1", 2.0)
    found = nearest(four_values, to=1000)
    assert (found.from_pmap, found.predicted_offset_ab_mag) == ("jwst_0999.pmap", 0.09)
    assert nearest(four_values, to=1568).from_pmap == "jwst_1130.pmap"
    assert nearest(four_values, to=1568, from_pmap=Pmap(999)).from_pmap == "jwst_0999.pmap"


def test_nearest_goes_on_to_one_that_leads_to_a_number(four_values: Database) -> None:
    with four_values.write() as connection:
        ContextRows(connection).solution("1500", 0.2, 0.001)
    assert nearest(four_values, to=1568).from_pmap == "jwst_1130.pmap"
    unknown = nearest(four_values, to=1600)
    assert (unknown.from_pmap, unknown.status) == ("jwst_1500.pmap", Status.UNKNOWN)


def test_nothing_measured_is_an_error(four_values: Database) -> None:
    with pytest.raises(NoCalibrationError, match=r"F200W array 2 was measured.*jwst_1130\.pmap"):
        nearest(four_values, to=1568, array_id="2")
    with pytest.raises(NoCalibrationError, match=r"under jwst_1131\.pmap"):
        predictions(four_values, from_pmap=Pmap(1131), to=1568)


def test_several_measurements_need_a_choice(four_values: Database) -> None:
    with four_values.write() as connection:
        ContextRows(connection).solution("1130", -0.04, 0.002, source="others")
    with pytest.raises(InvalidValueError, match="external: others; external: published"):
        nearest(four_values, to=1568)
    assert nearest(four_values, to=1568, source="others").offset_ab_mag == -0.04
    assert len(predictions(four_values, from_pmap=Pmap(1130), to=1568)) == 2
