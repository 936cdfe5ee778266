"""Learning from outcomes alone: won, paid, clicked, visited, converted.

- `algorithm`: `Lift`, an algorithm of RLlib, and its settings
- `policy`, `worker`, `replay`, `exploration`: its parts
- `learner`: how the critic learns; `forecasts`: what teaches its encoder;
  `informed`: one that sees more, for ablations; `targets`,
  `prices`: the mathematics; `price_history`: the auctions that prices are counted from
- `ppo`: `OutcomePPO`, `OutcomeAPPO` and `OutcomeIMPALA`, with the same critic
- `dqn`: DQN of the new API stack with the same structure
- `world`: in which worlds they learn
"""

from rllib_seq.lift.algorithm import Lift, LiftConfig
from rllib_seq.lift.dqn import OutcomeDQNConfig
from rllib_seq.lift.ppo.algorithm import (
    OutcomeAPPO,
    OutcomeAPPOConfig,
    OutcomeIMPALA,
    OutcomeIMPALAConfig,
    OutcomePPO,
    OutcomePPOConfig,
)

__all__ = [
    "Lift",
    "LiftConfig",
    "OutcomeAPPO",
    "OutcomeAPPOConfig",
    "OutcomeDQNConfig",
    "OutcomeIMPALA",
    "OutcomeIMPALAConfig",
    "OutcomePPO",
    "OutcomePPOConfig",
]
