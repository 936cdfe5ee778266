"""Environments of rllib-seq."""
