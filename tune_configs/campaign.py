"""PPO with an LSTM that steers the budget of a whole campaign, `AdCampaign-v0`.

The policy decides how much more or less than the world's pacing rule to bid on each channel, and
starts as that rule. It remembers prices, pace and what rivals did since the flight began.

    rllib-seq train campaign --preset rivalry --stop-steps 400000
"""

from ray.rllib.algorithms.ppo import PPOConfig

import rllib_seq  # noqa: F401, registers the model, the distribution and the environment

FLIGHT = 48  # steps of a day
# Side by side: what a policy earns over the rule is little beside the luck of a flight.
FLIGHTS = 128

config = (
    PPOConfig()
    # TorchModelV2 lives on the old API stack.
    .api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    .framework("torch")
    .environment(
        "campaign_flights",
        env_config={
            "world": "rivalry",
            # A tenth of the requests of a real tick: shares and prices are noisier, steps cheaper.
            "requests_per_tick": 200,
            # Won impressions are counted at the bidder's own prediction, not at a coin's.
            "conversions": "expected",
            "actions": "around_pacing",
            "reward": "over_pacing",
            "flights": FLIGHTS,
        },
    )
    .env_runners(num_env_runners=0, batch_mode="complete_episodes")
    .training(
        model={
            "custom_model": "lstm_transformer",
            "custom_model_config": {
                "encoder": "lstm",
                "lstm_layers": 1,
                "d_model": 32,
                "head_hidden": 32,
                "dropout": 0.0,
                # The observation has the last action, and no policy sees how pacing alone does.
                "prev_action": False,
                "prev_reward": False,
            },
            "max_seq_len": FLIGHT,
            "custom_action_dist": "narrow_gaussian",
        },
        # What a bid costs shows when the budget is short, at the end.
        gamma=1.0,
        lambda_=0.98,
        lr=2e-3,
        lr_schedule=[[0, 2e-3], [400_000, 5e-5]],
        train_batch_size=FLIGHTS * FLIGHT,
        minibatch_size=FLIGHTS // 4 * FLIGHT,
        num_epochs=6,
        clip_param=0.2,
        use_kl_loss=False,
        vf_clip_param=float("inf"),
        grad_clip=1.0,
    )
    .reporting(metrics_num_episodes_for_smoothing=64)
)
