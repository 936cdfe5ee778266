"""Learning from outcomes alone: won, paid, clicked, visited, converted.

- `algorithm`: `Lift`, an algorithm of RLlib, and its settings
- `policy`, `worker`, `replay`, `exploration`: its parts
- `learner`: how the critic learns; `informed`: one that sees more, for ablations; `targets`,
  `prices`: the mathematics
"""

from rllib_seq.lift.algorithm import Lift, LiftConfig

__all__ = ["Lift", "LiftConfig"]
