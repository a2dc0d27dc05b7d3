"""Sources on an image: background, detection, isophotes, apertures, magnitudes.

One image at a time; whose image it is does not matter here.
"""
