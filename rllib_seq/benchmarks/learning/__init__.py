"""How much memory is worth, at equal steps."""
