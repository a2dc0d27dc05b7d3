"""Published numbers that ``calreg demo --contexts`` runs on, each with its source."""

from __future__ import annotations

import shutil
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

OFFSETS = "jwidf_1130.ecsv"
"""The ten offsets of Ma et al. (2024), Table 3, at full precision."""

PHOTMJSR = "photmjsr.csv"
REFERENCES = "references.csv"


def copy_facts(folder: Path) -> list[Path]:
    """Copy the tables to a folder.

    Parameters
    ----------
    folder : Path
        Exists.

    Returns
    -------
    list of Path
        Offsets, PHOTMJSR, reference files.
    """
    paths = []
    for name in (OFFSETS, PHOTMJSR, REFERENCES):
        with resources.as_file(resources.files(__package__) / name) as source:
            paths.append(folder / name)
            shutil.copyfile(source, paths[-1])
    return paths
