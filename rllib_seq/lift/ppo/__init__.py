"""PPO whose advantages are those of all bids at once, from the same critic as Lift's.

- `algorithm`: `OutcomePPO`, an algorithm of RLlib, and its settings
- `policy`, `worker`: its parts
- `advantages`: the mathematics
"""
