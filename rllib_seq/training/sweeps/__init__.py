"""Sweeps by Ray Tune."""
