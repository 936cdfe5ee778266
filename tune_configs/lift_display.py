"""`tune_configs.lift` in the world of `display`: `rllib-seq train lift_display`.

While the policy explores without a budget, what is left of it, prices paid and conversions so far
are where they never are when it bids within one. Fields of the campaign are therefore not observed.
"""

from rllib_seq.tune_configs.lift import config

config = config.copy(copy_frozen=False)
config.environment(
    env_config={
        "preset": "display",
        "observation": "user",
        # A tick is a quarter of an hour: with fewer users hardly anybody acts in it.
        "num_users": 512,
    }
)
