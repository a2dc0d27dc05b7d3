"""Files whose set is not current any more: corrected exposures and exports, not restored ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calreg import Registry
from calreg.apply.affected import FileState
from calreg.apply.options import ApplyOptions
from calreg.domain import SetStatus
from calreg.science.model.settings import FitSettings
from support.correctedfiles import write_exposure
from support.programmes import PMAP

if TYPE_CHECKING:
    from pathlib import Path

IN_PLACE = ApplyOptions(is_in_place=True)


def exposures(folder: Path) -> dict[str, Path]:
    """Write exposures of two bands that the small programme has sets for."""
    folder.mkdir()
    cards = {
        "short": {"DETECTOR": "NRCA1", "FILTER": "F200W"},
        "long": {"DETECTOR": "NRCALONG", "FILTER": "F444W"},
        "other": {"DETECTOR": "NRCB1", "FILTER": "F200W"},
    }
    return {
        name: write_exposure(folder / f"{name}_cal.fits", primary=dict(chosen))
        for name, chosen in cards.items()
    }


def supersede(registry: Registry) -> dict[tuple[str, str], str]:
    """Fit every key again with another limit; return the new sets."""
    report = registry.refit(FitSettings.parse(mag_limit=21.5))
    assert report.fitted
    return {(row.band, row.array_id): row.set_id for row in registry.coefficients()}


def test_files_of_superseded_sets_are_found(small_url: str, tmp_path: Path) -> None:
    paths = exposures(tmp_path / "cal")
    recipe = tmp_path / "recipe.ecsv"
    with Registry(small_url) as registry:
        before = {(row.band, row.array_id): row.set_id for row in registry.coefficients()}
        registry.apply(list(paths.values()), IN_PLACE)
        registry.undo(paths["other"])
        registry.export_recipe(recipe, pmap=PMAP)
        assert registry.affected() == []
        after = supersede(registry)
        found = registry.affected()
        assert registry.affected(pmap="1039") == []
        assert registry.affected(pmap=PMAP) == found
    corrected = {row.path: row for row in found if row.kind == "corrected"}
    assert set(corrected) == {paths["short"], paths["long"]}
    for name, key in (("short", ("F200W", "1")), ("long", ("F444W", "long"))):
        row = corrected[paths[name]]
        assert (row.band, row.array_id) == key
        assert (row.set_id, row.current_set_id) == (before[key], after[key])
        assert (row.status, row.state) == (SetStatus.SUPERSEDED, FileState.PRESENT)
        assert row.pmap == PMAP
    exported = [row for row in found if row.kind == "recipe"]
    assert {row.path for row in exported} == {recipe}
    assert {(row.band, row.array_id): row.set_id for row in exported} == before


def test_what_was_done_since_counts(small_url: str, tmp_path: Path) -> None:
    """Replaced, restored, moved, and exported again."""
    paths = exposures(tmp_path / "cal")
    recipe = tmp_path / "recipe.ecsv"
    with Registry(small_url) as registry:
        registry.apply(list(paths.values()), IN_PLACE)
        registry.export_recipe(recipe, pmap=PMAP)
        supersede(registry)
        registry.apply(paths["short"], ApplyOptions(is_in_place=True, replaces=True))
        registry.undo(paths["long"])
        registry.export_recipe(recipe, pmap=PMAP, overwrite=True)
        (row,) = registry.affected()
        assert (row.path, row.array) == (paths["other"], "nrcb1")
        paths["other"].rename(tmp_path / "moved_cal.fits")
        (row,) = registry.affected()
        assert row.state is FileState.MISSING
        paths["other"].write_bytes(paths["long"].read_bytes())
        (row,) = registry.affected()
        assert row.state is FileState.OTHER


def test_an_export_of_old_sets_is_not_affected(small_url: str, tmp_path: Path) -> None:
    """It was asked for as of then; nothing has been superseded since."""
    with Registry(small_url) as registry:
        moment = max(row.created_utc for row in registry.coefficients())
        supersede(registry)
        registry.export_recipe(tmp_path / "old.ecsv", pmap=PMAP, as_of_utc=moment)
        assert registry.affected() == []


def test_files_of_withdrawn_sets_are_found(small_url: str, tmp_path: Path) -> None:
    paths = exposures(tmp_path / "cal")
    with Registry(small_url) as registry:
        registry.apply(paths["short"], IN_PLACE)
        (set_id,) = {row.set_id for row in registry.coefficients(band="F200W", array_id="1")}
        registry.withdraw(set_id, reason="a test")
        (row,) = registry.affected()
        assert (row.path, row.status) == (paths["short"], SetStatus.WITHDRAWN)
        assert row.current_set_id == ""
        # And nothing is corrected with it any more.
        with pytest.raises(ValueError, match="was withdrawn"):
            registry.apply(paths["other"], IN_PLACE)
