"""The users: when they come, their hidden stages, and what a bidder observes of them."""
