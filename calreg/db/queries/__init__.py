"""Every SQL statement: a connection in, plain rows out.

One module for each thing that the registry stores.
"""
