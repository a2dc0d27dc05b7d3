"""Damaged files of every form through every door: refused in our words, and nothing is changed.

About two hundred inputs; `make attack N=20000` sends as many as it is told. Every input follows
from its target, its number and the seed: a failure is repeated with ``CALREG_ATTACK_ONLY=number``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.attackdoors import TARGETS, Target
from support.attackworkers import as_ledger

if TYPE_CHECKING:
    from support.attackworkers import Attacker

N_INPUTS = int(os.environ.get("CALREG_ATTACK_N", "200"))
ONLY = os.environ.get("CALREG_ATTACK_ONLY")
LEDGER = os.environ.get("CALREG_ATTACK_LEDGER")
"""File that gets what failed, for a person."""

_WEIGHTS = sum(target.weight for target in TARGETS)
_POSTGRES_SHARE = 0.1
"""Forms are read alike for both engines; what is stored of them is not."""


def numbers_of(target: Target, url: str) -> list[int]:
    """Return the numbers of a target's inputs."""
    if ONLY:
        return [int(number) for number in ONLY.split(",")]
    share = 1.0 - _POSTGRES_SHARE if url.startswith("sqlite") else _POSTGRES_SHARE
    n_inputs = max(3, round(N_INPUTS * target.weight / _WEIGHTS * share))
    first = 0 if url.startswith("sqlite") else 10**6
    return list(range(first, first + n_inputs))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.file.replace("/", "-"))
def test_damaged_files(attacker: Attacker, target: Target) -> None:
    outcome = attacker.attack(target, numbers_of(target, attacker.battlefield.url))
    print(  # noqa: T201 - figures of `make attack`
        f"\n{target.file}: {outcome.n_inputs} inputs, {outcome.n_taken} taken, "
        f"{outcome.n_refused} refused, {len(outcome.failures)} failures, peak "
        f"{outcome.peak_bytes >> 20} MiB, slowest {outcome.slowest_s:.2f} s, "
        f"wrapped {outcome.wrapped}"
    )
    if LEDGER and outcome.failures:
        with Path(LEDGER).open("a", encoding="utf-8") as stream:
            stream.write(as_ledger(outcome.failures) + "\n")
    assert not outcome.failures, as_ledger(outcome.failures)
