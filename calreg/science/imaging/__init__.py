"""Images as a whole: cleaning, drizzling, reprojection, alignment, differences.

Planes of pixels in, planes of pixels out.
"""
