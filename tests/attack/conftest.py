"""The registry and the files that are attacked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support.attackdoors import write_corpus
from support.attackworkers import Attacker, Battlefield

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.programmes import Prepared

SEED = int(os.environ.get("CALREG_ATTACK_SEED", "1"))


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
