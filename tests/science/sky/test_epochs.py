"""Fields and epochs, found from footprints, rolls and times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from calreg.errors import InvalidValueError
from calreg.science.sky.epochs import (
    NONE,
    EpochPlan,
    ExposureSet,
    FieldMerge,
    KnownEpochs,
    NewEpoch,
    Overrides,
    find_epochs,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Shot:
    """An exposure on the equator: a square of 2 arcmin at `east_arcmin`."""

    name: str
    east_arcmin: float
    day: float
    roll: float = 72.0
    visit: str = ""


def exposure_set(shots: Sequence[Shot]) -> ExposureSet:
    """Return the columns of some exposures."""
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    start = np.array([60000.0 + shot.day for shot in shots])
    return ExposureSet(
        footprints=[
            corners / 60.0 + np.array([180.0 + shot.east_arcmin / 60.0, 0.0]) for shot in shots
        ],
        roll_deg=np.array([shot.roll for shot in shots], dtype=np.float64),
        expstart_mjd_utc=start,
        expend_mjd_utc=start + 0.01,
        visit_keys=[shot.visit for shot in shots],
    )


class Registry:
    """Fields and epochs kept between calls, as a caller keeps them."""

    def __init__(self) -> None:
        self.shots: list[Shot] = []
        self.epoch_ids: list[int] = []
        self.epoch_fields: dict[int, int] = {}
        self.n_fields = 0
        self.refused: list[Shot] = []

    def known(self) -> KnownEpochs:
        return KnownEpochs(
            exposure_set(self.shots),
            np.array(self.epoch_ids, dtype=np.int64),
            dict(self.epoch_fields),
        )

    def add(self, *shots: Shot, overrides: Overrides | None = None) -> EpochPlan:
        names = [shot.name for shot in shots]
        plan = find_epochs(exposure_set(shots), names, self.known(), overrides)
        for merge in plan.merges:
            for epoch, field in self.epoch_fields.items():
                if field == merge.absorbed_id:
                    self.epoch_fields[epoch] = merge.field_id
        first_field, first_epoch = self.n_fields + 1, len(self.epoch_fields) + 1
        for made in plan.new_epochs:
            assert (made.field_id == NONE) != (made.new_field == NONE)
            number = first_field + made.new_field if made.field_id == NONE else made.field_id
            self.epoch_fields[len(self.epoch_fields) + 1] = number
        self.n_fields += plan.n_new_fields
        refused = {conflict.index for conflict in plan.conflicts}
        for i, shot in enumerate(shots):
            if i in refused:
                assert plan.epoch_id[i] == plan.new_epoch[i] == NONE
                self.refused.append(shot)
                continue
            assert (plan.epoch_id[i] == NONE) != (plan.new_epoch[i] == NONE)
            new = first_epoch + int(plan.new_epoch[i])
            self.shots.append(shot)
            self.epoch_ids.append(new if plan.epoch_id[i] == NONE else int(plan.epoch_id[i]))
        return plan

    def partition(self) -> set[tuple[frozenset[str], frozenset[frozenset[str]]]]:
        """Return every field as its exposures and its epochs, without numbers."""
        fields: dict[int, dict[int, set[str]]] = {}
        for shot, epoch in zip(self.shots, self.epoch_ids, strict=True):
            epochs = fields.setdefault(self.epoch_fields[epoch], {})
            epochs.setdefault(epoch, set()).add(shot.name)
        return {
            (frozenset().union(*epochs.values()), frozenset(map(frozenset, epochs.values())))
            for epochs in fields.values()
        }


def at_once(shots: Sequence[Shot]) -> set[tuple[frozenset[str], frozenset[frozenset[str]]]]:
    """Return the partition of all exposures in one call."""
    registry = Registry()
    registry.add(*shots)
    assert registry.refused == []
    return registry.partition()


def slow_partition(shots: Sequence[Shot]) -> set[tuple[frozenset[str], frozenset[frozenset[str]]]]:
    """Return the partition by the definition, link by link."""

    def groups(members: Sequence[Shot], linked: object) -> list[list[Shot]]:
        assert callable(linked)
        left, found = list(members), []
        while left:
            group = [left.pop(0)]
            for one in group:
                near = [other for other in left if linked(one, other)]
                group += near
                left = [other for other in left if other not in near]
            found.append(group)
        return found

    def is_one_field(a: Shot, b: Shot) -> bool:
        return abs(a.east_arcmin - b.east_arcmin) < 2.0 or (a.visit != "" and a.visit == b.visit)

    def is_one_epoch(a: Shot, b: Shot) -> bool:
        turn = abs(a.roll - b.roll) % 360.0
        return min(turn, 360.0 - turn) <= 2.0 and abs(a.day - b.day) - 0.01 <= 10.0

    return {
        (
            frozenset(shot.name for shot in field),
            frozenset(
                frozenset(shot.name for shot in epoch) for epoch in groups(field, is_one_epoch)
            ),
        )
        for field in groups(shots, is_one_field)
    }


def test_three_epochs_of_one_field_and_another_field() -> None:
    shots = [
        Shot("a1", 0.0, 0.0),
        Shot("a2", 1.5, 0.1),
        Shot("b1", 0.5, 182.0, 252.0),
        Shot("c1", 0.7, 363.0),
        Shot("far", 600.0, 0.0),
    ]
    registry = Registry()
    plan = registry.add(*shots)
    assert plan.new_epoch.tolist() == [0, 0, 2, 3, 1]  # numbered by their first exposure
    assert plan.new_epochs == (
        NewEpoch(NONE, 0),
        NewEpoch(NONE, 1),
        NewEpoch(NONE, 0),
        NewEpoch(NONE, 0),
    )
    assert plan.n_new_fields == 2
    assert registry.partition() == slow_partition(shots)


@pytest.mark.parametrize(
    ("second", "is_same"),
    [
        (Shot("b", 0.0, 10.005), True),  # 9.995 d between the end of one and the start of the other
        (Shot("b", 0.0, 10.02), False),
        (Shot("b", 0.0, -10.005), True),
        (Shot("b", 0.0, 1.0, 73.9), True),
        (Shot("b", 0.0, 1.0, 74.1), False),
        (Shot("b", 0.0, 1.0, 252.0), False),
        (Shot("b", 0.0, 1.0, 432.0), True),
    ],
)
def test_roll_and_gap(second: Shot, is_same: bool) -> None:
    plan = find_epochs(exposure_set([Shot("a", 0.0, 0.0), second]), ["a", "b"])
    assert len(plan.new_epochs) == (1 if is_same else 2)
    assert plan.n_new_fields == 1


def test_roll_wraps() -> None:
    plan = find_epochs(
        exposure_set([Shot("a", 0.0, 0.0, 359.5), Shot("b", 0.0, 0.0, 1.2)]), ["a", "b"]
    )
    assert len(plan.new_epochs) == 1


def test_one_visit_is_one_field_without_overlap() -> None:
    apart = [Shot("a", 0.0, 0.0, visit="01176-241-001"), Shot("b", 9.0, 0.0, visit="01176-241-001")]
    assert find_epochs(exposure_set(apart), ["a", "b"]).n_new_fields == 1
    loose = [Shot("a", 0.0, 0.0), Shot("b", 9.0, 0.0)]
    assert find_epochs(exposure_set(loose), ["a", "b"]).n_new_fields == 2


def test_late_file_joins_its_epoch() -> None:
    registry = Registry()
    registry.add(Shot("a", 0.0, 0.0), Shot("b", 0.0, 182.0, 252.0))
    plan = registry.add(Shot("late", 0.5, 5.0), Shot("later", 0.5, 181.0, 252.5))
    assert plan.epoch_id.tolist() == [1, 2]
    assert plan.new_epochs == ()


def test_file_that_would_join_two_epochs_is_refused() -> None:
    registry = Registry()
    registry.add(Shot("a", 0.0, 0.0), Shot("b", 0.0, 18.0))
    before = registry.partition()
    plan = registry.add(Shot("between", 0.0, 9.0), Shot("other", 0.0, 18.5))
    assert [(c.index, c.epoch_id_1, c.epoch_id_2) for c in plan.conflicts] == [(0, 1, 2)]
    assert plan.epoch_id.tolist() == [NONE, 2]
    assert len(before) == len(registry.partition()) == 1


def test_refused_file_leaves_no_link_behind() -> None:
    registry = Registry()
    registry.add(Shot("a", 0.0, 0.0), Shot("b", 0.0, 18.0), Shot("island", 3.0, 300.0))
    assert registry.n_fields == 2
    # `bridge` reaches the island too, and is refused for the epochs: the fields stay apart
    plan = registry.add(Shot("bridge", 1.5, 9.0))
    assert len(plan.conflicts) == 1
    assert plan.merges == ()
    # what overlaps the refused file only is a field of its own
    registry.add(Shot("alone", 5.5, 9.0, visit="v"), Shot("mate", 30.0, 9.0, visit="v"))
    assert registry.n_fields == 3


def test_fields_merge_when_no_epochs_are_joined() -> None:
    registry = Registry()
    registry.add(Shot("east", 3.0, 0.0))
    registry.add(Shot("west", 0.0, 300.0))
    plan = registry.add(Shot("bridge", 1.5, 600.0))
    assert plan.merges == (FieldMerge(1, 2),)
    assert plan.new_epochs == (NewEpoch(1, NONE),)
    assert set(registry.epoch_fields.values()) == {1}


def test_fields_do_not_merge_when_their_epochs_would() -> None:
    registry = Registry()
    registry.add(Shot("east", 3.0, 0.0), Shot("west", 0.0, 0.0))
    # half a year away itself, but the fields' epochs of day 0 would be one
    plan = registry.add(Shot("bridge", 1.5, 182.0, 252.0))
    assert [(c.epoch_id_1, c.epoch_id_2) for c in plan.conflicts] == [(1, 2)]
    assert plan.merges == ()


def test_chain_of_merges_ends_in_the_smallest_field() -> None:
    registry = Registry()
    registry.add(Shot("one", 0.0, 0.0), Shot("two", 3.0, 100.0), Shot("three", 6.0, 200.0))
    plan = registry.add(Shot("later", 1.5, 500.0), Shot("sooner", 4.5, 400.0))
    assert plan.merges == (FieldMerge(1, 2), FieldMerge(1, 3))
    assert {epoch.field_id for epoch in plan.new_epochs} == {1}


def test_given_epoch_overrules_links() -> None:
    registry = Registry()
    registry.add(Shot("a", 0.0, 0.0), Shot("b", 0.0, 18.0))
    plan = registry.add(
        Shot("between", 0.0, 9.0), overrides=Overrides(np.array([2]), np.array([NONE]))
    )
    assert plan.conflicts == ()
    assert plan.epoch_id.tolist() == [2]
    # epochs 1 and 2 stay apart although they now are within ten days
    assert registry.add(Shot("late", 0.0, 27.0)).epoch_id.tolist() == [2]


def test_given_field_overrules_footprints() -> None:
    registry = Registry()
    registry.add(Shot("a", 0.0, 0.0), Shot("b", 600.0, 0.0))
    plan = registry.add(
        Shot("far", 300.0, 100.0), overrides=Overrides(np.array([NONE]), np.array([2]))
    )
    assert plan.new_epochs == (NewEpoch(2, NONE),)
    plan = registry.add(Shot("near b", 600.0, 101.0))
    assert plan.epoch_id.tolist() == [3]


def test_unusable_input_is_refused() -> None:
    shots = exposure_set([Shot("a", 0.0, 0.0)])
    with pytest.raises(InvalidValueError, match="unknown epoch 7"):
        find_epochs(shots, ["a"], None, Overrides(np.array([7]), np.array([NONE])))
    with pytest.raises(InvalidValueError, match="2 identities or overrides for 1 exposures"):
        find_epochs(shots, ["a", "b"])
    with pytest.raises(InvalidValueError, match="no field for epochs \\[3\\]"):
        KnownEpochs(shots, np.array([3]), {})
    with pytest.raises(InvalidValueError, match="finite rolls and times"):
        exposure_set([Shot("a", 0.0, np.nan)])
    with pytest.raises(InvalidValueError, match="columns of lengths"):
        ExposureSet(shots.footprints, np.empty(0), np.empty(0), np.empty(0), [])
    assert find_epochs(exposure_set([]), []).new_epochs == ()


SHOTS = st.builds(
    Shot,
    name=st.just(""),
    # steps that put pairs on both sides of every limit, none of them on it
    east_arcmin=st.integers(0, 9).map(lambda n: 0.9 * n),
    day=st.integers(0, 12).map(lambda n: 4.1 * n),
    roll=st.sampled_from([358.9, 0.3, 1.7, 90.0, 180.0]),
    visit=st.sampled_from(["", "", "", "v1", "v2"]),
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(SHOTS, min_size=1, max_size=14), st.data())
def test_any_order_and_any_split_give_the_same_epochs(
    shots: list[Shot], data: st.DataObject
) -> None:
    named = [
        Shot(f"s{i}", shot.east_arcmin, shot.day, shot.roll, shot.visit)
        for i, shot in enumerate(shots)
    ]
    expected = slow_partition(named)
    assert at_once(named) == expected
    order = data.draw(st.permutations(named))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    registry = Registry()
    for low, high in zip([0, *cuts], [*cuts, len(order)], strict=True):
        registry.add(*order[low:high])
    # what was refused left nothing: the rest is as if the refused files had never come
    assert registry.partition() == slow_partition(registry.shots)
    if not registry.refused:
        assert registry.partition() == expected
    assert len(registry.shots) + len(registry.refused) == len(named)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.lists(SHOTS, min_size=2, max_size=12), st.data())
def test_rows_of_one_call_may_come_in_any_order(shots: list[Shot], data: st.DataObject) -> None:
    named = [
        Shot(f"s{i:02d}", shot.east_arcmin, shot.day, shot.roll, shot.visit)
        for i, shot in enumerate(shots)
    ]
    shuffled = data.draw(st.permutations(named))
    plan = find_epochs(exposure_set(named), [shot.name for shot in named])
    again = find_epochs(exposure_set(shuffled), [shot.name for shot in shuffled])
    by_name = dict(zip((shot.name for shot in shuffled), again.new_epoch.tolist(), strict=True))
    assert [by_name[shot.name] for shot in named] == plan.new_epoch.tolist()
    assert plan.new_epochs == again.new_epochs
