"""What the workers add to RLlib's; that their notes reach the user is tested with whole runs."""

import pytest
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_seq.rollouts import (
    STEPS_SAMPLED,
    FaultReportingMultiAgentEnvRunner,
    FaultReportingSingleAgentEnvRunner,
    FaultReportingWorker,
    count_steps,
    fault_reporting_worker,
)


def _auction():
    return (
        PPOConfig()
        .environment("multi_user_ad_auction", env_config={"num_users": 9})
        .multi_agent(policies={"b"}, policy_mapping_fn=lambda agent_id, *args, **kwargs: "b")
        .callbacks(on_sample_end=count_steps)
    )


def test_every_config_gets_the_kin_of_rllibs_own_choice():
    old = {"enable_rl_module_and_learner": False, "enable_env_runner_and_connector_v2": False}
    assert fault_reporting_worker(PPOConfig().api_stack(**old)) is FaultReportingWorker
    assert fault_reporting_worker(_auction().api_stack(**old)) is FaultReportingWorker
    assert fault_reporting_worker(PPOConfig()) is FaultReportingSingleAgentEnvRunner
    assert issubclass(FaultReportingSingleAgentEnvRunner, SingleAgentEnvRunner)
    assert fault_reporting_worker(_auction()) is FaultReportingMultiAgentEnvRunner


@pytest.mark.usefixtures("ray_session")
def test_steps_are_bid_requests():
    runner = FaultReportingMultiAgentEnvRunner(config=_auction())
    requests = 0.0
    for _ in range(2):
        runner.sample(num_episodes=1)
        requests += runner.env.envs[0].unwrapped.simulator.ledger.requests
    metrics = runner.get_metrics()
    assert metrics[STEPS_SAMPLED].peek() == requests
    rllibs = sum(steps.peek() for steps in metrics["num_agent_steps_sampled_lifetime"].values())
    assert rllibs > requests  # else this count is no longer needed
