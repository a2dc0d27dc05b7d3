"""Files in every format that calreg reads and writes.

Bytes in, dataclasses out, and back; nothing here knows a registry.
"""
