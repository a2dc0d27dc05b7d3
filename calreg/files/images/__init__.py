"""Exposures and mosaics: identity, calibration, members, planes of pixels.

Read as the pipeline writes them; written for mosaics and difference images.
"""
