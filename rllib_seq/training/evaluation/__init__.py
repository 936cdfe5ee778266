"""Trained policies beside the references."""
