"""What the questions read besides coefficient sets: patches, contexts, deliveries."""

from __future__ import annotations
