"""`tune_configs.ppo` with a memory of the whole journey: the causal encoder.

The window of `tune_configs.ppo` holds the last 8 of a user's 24 requests, and would cost three
times as much with all of them. Here attention reaches all 24. docs/encoders.md says what either
costs, and what is not yet known of what they earn.
"""

from tune_configs.ppo import config

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
    }
)
