"""Fixtures for all folders; databases are in `support.dbfixtures`, registries in `programmes`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = [
    "support.commandline",
    "support.dbfixtures",
    "support.programmes",
    "support.differencefixtures",  # stands on programmes
    "support.setrows",
    "support.synthetic",
]

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data: $CALREG_SHARED_DATA, else shared/data beside the checkout."""
    named = os.environ.get("CALREG_SHARED_DATA")
    folder = Path(named) if named else _ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: shared/data is not beside the checkout ($CALREG_SHARED_DATA)")
    return folder
