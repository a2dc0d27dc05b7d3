"""Tables that others read or publish: the recipe, grizli's yml, Parquet, published offsets.

Each states its own sign in its header.
"""
