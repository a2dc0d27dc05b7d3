"""Work on many cores behind one door.

Nothing here knows what the work is.
"""
