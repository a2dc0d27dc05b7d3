"""Services that work on pixels: mosaics, photometry, astrometry, difference images."""
