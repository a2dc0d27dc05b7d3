"""Tables of corrections as others publish them, made up: every form of line that real ones have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MULTIPLIERS = """\
# zeropoints with a relative adjustment from background levels

# [DETECTOR]-[FILTER]-[PUPIL]  [mjsr, scale, pixar_sr]

NRCA1-F200W-CLEAR: [ 1.9640, 1.0328, 2.24e-14]  #  jwst_1293.pmap std_err = 0.0018
NRCB1-F200W-CLEAR: [ 2.0560, 1.0000, 2.23e-14]  #  jwst_1293.pmap (fixed)
NRCA2-F200W-CLEAR: [ 2.1000, 0.9937, 2.23e-14]  #  jwst_1293.pmap std_err = 0.0017
NRCB2-F200W-CLEAR: [ 1.9690, 1.0603, 2.29e-14]  #  jwst_1293.pmap std_err = 0.0012
# NRCB2-F200W-CLEAR: [ 1.9690, 1.0700, 2.29e-14]  #  jwst_1293.pmap std_err = 0.0030

NRCA1-F187N-CLEAR : [43.1340, 1.0374, 2.24e-14]  # interpolated
NRCB1-F187N-CLEAR : [45.4530, 1.0000, 2.23e-14]  # interpolated
NRCA3-F200W-CLEAR: [ 1.8960, 1.0328, 2.26e-14]  #  jwst_1293.pmap std_err = 0.0012

NRCALONG-F444W-F405N: [11.5270, 1.0000, 9.21e-14]  #  jwst_1293.pmap (fixed) [no data]
NRCBLONG-F444W-F405N: [ 9.7120, 1.0000, 9.24e-14]  #  jwst_1293.pmap (fixed)
NRCALONG-F444W-F470N: [14.0800, 0.9725, 9.21e-14]  #  jwst_1293.pmap std_err = 0.0076
NRCBLONG-F444W-F470N: [13.7350, 1.0000, 9.24e-14]  #  jwst_1293.pmap (fixed)
"""
"""In the form of grizli's jwst_zeropoints.yml."""

DIVISORS = """\
# So, to apply the corrections below, *divide* the images (SCI and ERR)
# by these values.
#
# CRDS_CTX: jwst_0942.pmap
# CRDS_CTX_MAX: jwst_0988.pmap
#
# NIS-CLEAR-F200W: 1.04
# NRCA1-F200W-CLEAR: 1.1555
# NRCB1-F200W-CLEAR: 1.1453
# #NRCBLONG-F410M-CLEAR: 1.0
# NRCA1-F140M-CLEAR: 1.0
# NRCB1-F140M-CLEAR: 1.0

CRDS_CTX: jwst_0995.pmap
CRDS_CTX_MAX: jwst_1125.pmap

NRCBLONG-F277W-CLEAR: 1.0000
NRCALONG-F277W-CLEAR: 1.0618
## jwst_0989.pmap
# NRCA1-F200W-CLEAR: 0.9953
# NRCB1-F200W-CLEAR: 1.0293
"""
"""In the form of grizli's photom_correction.yml."""

CSV = """\
# made up
pmap,band,array,offset,error
jwst_1130.pmap,F200W,nrca1,0.020,0.001
1130,F200W,nrcb1,-0.010,0.002
1130,f444w,long,-0.016,
"""


def write(path: Path, text: str) -> Path:
    """Write a table."""
    path.write_text(text, encoding="utf-8")
    return path
