"""Policies to compare with: baselines, oracles, equilibria and optima."""
