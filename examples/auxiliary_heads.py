"""`tune_configs.ppo` with auxiliary heads: will the bid win, will the user soon convert?

    rllib-seq train examples/auxiliary_heads.py

What they cost and bring is measured in docs/guides/auxiliary-heads.md.
"""

from rllib_seq.tune_configs.ppo import config

config = config.copy(copy_frozen=False)
settings = {
    **config.model["custom_model_config"],
    "auxiliary": {
        "won": {"given_action": True, "weight": 0.1},
        "converted": {"horizon": 8, "weight": 0.1},
    },
}
config.training(model={**config.model, "custom_model_config": settings})
