"""Auctions, the competitors in them, and how budgets are paced."""
