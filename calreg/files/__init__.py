"""Readers and writers of files. The only room that imports astropy.io."""
