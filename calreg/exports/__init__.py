"""Files for others: reference files, contexts, tables, and the record of what was handed out."""
