"""The bid server beside an echo."""
