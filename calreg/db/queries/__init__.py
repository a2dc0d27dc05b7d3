"""SELECTs and INSERTs, one module per part of the schema: dataclasses and arrays out."""
