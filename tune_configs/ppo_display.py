"""`tune_configs.ppo` in the world of `display`: a budget, a flight that ends; `--preset display`.

Policies are judged within the budget. While they explore it stops nothing (`enforce_budget`): bids
at random would spend it in the first fifth of a flight, and the rest would teach nothing.
"""

from rllib_seq.tune_configs.ppo import config

REQUESTS = 300_000
"""Some minutes. Longer runs: stretch the schedules, they do not go below their ends."""

config = config.copy(copy_frozen=False)
config.environment(
    env_config={
        "preset": "display",
        # A tick is a quarter of an hour: with fewer users hardly anybody acts in it.
        "num_users": 512,
        "enforce_budget": False,
        "reward_scale": 12.0,  # regrets of bids at random are spread by .03 per request
    }
)
# The same batch from more campaigns: in a tick more users act, and it holds more of the flight.
config.env_runners(num_envs_per_env_runner=8, rollout_fragment_length=384)
config.training(
    lr_schedule=[[0, 1e-3], [REQUESTS, 2e-5]],
    # Less than in `journey`: exploring costs more where most users are worth nothing.
    entropy_coeff=0.1,
    entropy_coeff_schedule=[[0, 0.1], [REQUESTS, 0.01]],
)
