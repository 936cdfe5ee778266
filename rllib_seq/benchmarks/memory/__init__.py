"""Tasks that only memory solves."""
