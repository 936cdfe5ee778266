"""Learning from outcomes alone in the multi-user ad auction: what `make train` runs.

A critic learns what winning a request is worth from won, paid, clicked, visited and converted, and
bids it; see docs/algorithms/lift.md. Every user is an agent; all share one policy, whose recurrent
state is the user's own.
"""

import rllib_seq  # noqa: F401, registers the model and the environment
from rllib_seq.lift import LiftConfig

WORLD = {
    "preset": "journey",
    "num_users": 256,
    "reward": "sampled",
    # Where there is a budget, it stops no one while they explore; see ppo_display.
    "enforce_budget": False,
}
MODEL = {
    "encoder": "lstm",
    "d_model": 128,
    "lstm_layers": 1,
    "head_hidden": 128,
    "dropout": 0.0,
    # Whether the last request was won is in the observation (`last_profit`); what was bid and paid
    # for it says nothing of the user, and to read it cost 3 points of Bayes after 300,000 requests.
    "prev_action": False,
    "prev_reward": False,
}
# By bid requests seen: bold for the first minutes, careful in long runs.
LEARNING_RATES = [[0, 1e-3], [1_000_000, 5e-4], [3_000_000, 2e-4]]

config = (
    LiftConfig()
    # A level costs the critic nothing to learn, and 16 cost .4 % of what continuous bids earn.
    .environment("multi_user_ad_auction", env_config={**WORLD, "num_bid_levels": 32})
    # The driver learns while one worker plays: two cores.
    .env_runners(num_env_runners=1)
    .training(
        model={"custom_model": "lstm_transformer", "custom_model_config": MODEL},
        # Passes over every journey: more need fewer requests, and more time for each.
        passes=5,
        lr_schedule=LEARNING_RATES,
    )
)
