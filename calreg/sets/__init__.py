"""Which coefficient set holds for a context, and what it does to an array.

Answers from what was fitted; nothing here fits, exports or corrects.
"""
