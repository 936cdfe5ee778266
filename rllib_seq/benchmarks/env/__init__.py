"""The speed of the ad auction's environments."""
