"""From pixels: mosaics in one room, photometry in another, difference images in a third.

The arithmetic is in `calreg.science.imaging` and `calreg.science.photometry`.
"""
