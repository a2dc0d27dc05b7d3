"""Flag bits of pixels, detections and pairs, as one table each; tests pin every value."""

from __future__ import annotations

from enum import IntFlag

DO_NOT_USE = 1
"""DQ bit of pixels without data (jwst, data quality flags)."""

SATURATED = 2
"""DQ bit of pixels that saturated during the exposure (jwst, data quality flags)."""


class DetectionFlag(IntFlag):
    """Bits of a detection, with SExtractor's meanings (SExtractor manual, FLAGS)."""

    NEIGHBOUR = 1
    """Aperture photometry is likely to be biased by neighbours or bad pixels."""
    BLENDED = 2
    """The object was blended with another one."""
    SATURATED = 4
    """At least one pixel is saturated or marked DO_NOT_USE."""
    TRUNCATED = 8
    """The footprint touches an edge or missing coverage."""
    APERTURE_INCOMPLETE = 16
    """Aperture data are incomplete or corrupted."""
    ISOPHOTE_INCOMPLETE = 32
    """Isophotal data are incomplete or corrupted."""
    DEBLEND_OVERFLOW = 64
    """Memory overflow during deblending."""
    EXTRACT_OVERFLOW = 128
    """Memory overflow during extraction."""


class PairFlag(IntFlag):
    """Bits of a pair; a pair with any bit set stays in the database and out of the fit."""

    AMBIGUOUS = 1
    """Another source lies within the search radius on either side, or the match is not mutual."""
    UNCLEAN = 2
    """Either detection has a `DetectionFlag` set."""
