"""`calreg demo`: whole simulated programmes, run through the commands as a user would.

The simulation itself is in `calreg.simulation`.
"""
