"""The registry and the files that are attacked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.attackdoors import write_corpus
from support.attackworkers import Attacker, Battlefield

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.programmes import Prepared

N_INPUTS = "CALREG_ATTACK_N"
"""Set by `make attack`, which runs what takes minutes."""

SEED = int(os.environ.get("CALREG_ATTACK_SEED", "1"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave kills, damaged pages and stopped servers to `make attack`."""
    if N_INPUTS in os.environ:
        return
    reason = pytest.mark.skip(reason="takes minutes: make attack runs it")
    for item in items:
        is_ours = Path(__file__).parent in item.path.parents
        if is_ours and item.get_closest_marker("slow") and item.path.name != "test_fuzz.py":
            item.add_marker(reason)


@pytest.fixture(scope="package")
def attacker(small: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    """Yield a process that takes damaged files, on each engine in turn."""
    folder = tmp_path_factory.mktemp("attack")
    with small.copy(folder) as url:
        corpus = folder / "corpus"
        corpus.mkdir()
        write_corpus(corpus, url)
        found = Attacker(Battlefield(corpus, url, folder, SEED))
        try:
            yield found
        finally:
            found.close()
