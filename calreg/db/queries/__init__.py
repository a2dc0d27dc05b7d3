"""SELECTs and INSERTs, one module per part of the schema: connections in, dataclasses and arrays out."""
