"""Match what is new, fit what is stale, and keep both.

The arithmetic of a fit is in `calreg.science.model`; here it is decided what is fitted, and from
what.
"""
