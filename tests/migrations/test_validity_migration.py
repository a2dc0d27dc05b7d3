"""Revision 0004: acceptances and withdrawals come, and are not thrown away."""

from __future__ import annotations

import pytest

from calreg import Registry
from calreg.db.engine import migrate_database, open_database, upgrade_database
from calreg.db.health import check_database
from support.setrows import SetRows


def test_sets_come_through_both_ways(db_url: str) -> None:
    with open_database(db_url) as database, database.write() as connection:
        set_id = SetRows(connection).add_set(1130)
    assert migrate_database(db_url, "0003")[-1] == "0004"
    upgrade_database(db_url)
    with Registry(db_url) as registry:
        assert registry.validity(set_id).status == "current"
        registry.promote(set_id, reason="agreed")
    with open_database(db_url) as database, database.read() as connection:
        assert check_database(connection) == []


@pytest.mark.parametrize("command", ["promote", "withdraw"])
def test_what_people_decided_is_not_lost(db_url: str, command: str) -> None:
    with open_database(db_url) as database, database.write() as connection:
        set_id = SetRows(connection).add_set(1130)
    with Registry(db_url) as registry:
        getattr(registry, command)(set_id, reason="agreed")
    with pytest.raises(RuntimeError, match="stay at 0004"):
        migrate_database(db_url, "0003")
    with Registry(db_url, read_only=True) as registry:
        (row,) = registry.coefficients(all_versions=True)
        assert (row.acceptance_reason or row.withdrawal_reason) == "agreed"
