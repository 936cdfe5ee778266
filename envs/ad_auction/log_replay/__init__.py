"""Replay of logged auctions: the log, its environments and its baselines."""
