"""What a refit is made of: pairs, patches, the input of a fit, its rows, its residuals."""
