"""Commands: parse, call one method of the registry, print."""
