"""PPO, APPO and IMPALA whose advantages are those of all bids at once, from Lift's critic.

- `algorithm`: `OutcomePPO`, `OutcomeAPPO` and `OutcomeIMPALA`, and their settings
- `policy`, `worker`: its parts
- `advantages`: the mathematics
"""
