"""Places on the sky and on the detector: geometry, footprints, grids, matching.

Epochs and sources are told apart here.
"""
