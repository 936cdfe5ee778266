"""The training loop, its Ray session and its display."""
