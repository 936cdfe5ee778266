"""`tune_configs.ppo` with a memory of the whole journey: what `make train` runs.

The window of `tune_configs.ppo` holds the last 12 of a user's 24 requests. Here attention reaches
all 24, and every request is read once. docs/results/learning.md says what it earns,
docs/guides/encoders.md what it costs.
"""

from rllib_seq.tune_configs.ppo import config

REQUESTS = 1_200_000
"""Some five minutes. Longer runs: stretch the schedules, they do not go below their ends."""

config = config.copy(copy_frozen=False)
settings = {
    **config.model["custom_model_config"],
    "encoder": "causal",
    # Attention sees the whole journey; in streams that go on, the LSTM remembers beyond.
    "window_length": 24,
}
config.training(
    model={
        **config.model,
        "custom_model_config": settings,
        # A sequence is a journey, or what a batch holds of it: few start from a state that the
        # weights of the last iteration made.
        "max_seq_len": 24,
    },
    lr_schedule=[[0, 1e-3], [REQUESTS, 2e-5]],
    entropy_coeff_schedule=[[0, 0.6], [REQUESTS, 0.1]],
)
