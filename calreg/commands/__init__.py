"""The command line: parse, call one method of the registry, print.

Nothing is computed here.
"""
