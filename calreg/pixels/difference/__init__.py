"""Subtract two epochs, and say what the correction leaves.

Plan, layers of pixels, and the residuals of array pairs.
"""
