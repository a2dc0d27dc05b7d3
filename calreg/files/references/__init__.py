"""Reference files of CRDS: photom, flat, their parents, mappings and overlays.

Written so that the stock pipeline takes them as they are.
"""
