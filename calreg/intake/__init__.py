"""What brings data in: doors for catalogs and files about contexts, places in fields and epochs."""
