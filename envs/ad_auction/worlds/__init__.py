"""Presets and what they are made of: numbers, actions, observed worlds, exact values."""
