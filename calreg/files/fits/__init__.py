"""FITS itself: headers read fast, cards edited in place, blocks and checksums.

What the cards mean is in `calreg.files.images` and `calreg.files.corrected`.
"""
