"""Published numbers, each with its source, as files and the code that hands them out."""
