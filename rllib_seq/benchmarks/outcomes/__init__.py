"""Learning from outcomes: Lift and its peers, and what prices by hour would bring."""
