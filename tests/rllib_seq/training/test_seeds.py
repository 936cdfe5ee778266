from itertools import combinations

import numpy as np

from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator
from rllib_seq.training.seeds import Branch, branch_seed, evaluation_seed, resume_seed


def first_words(seed):
    return tuple(seed.generate_state(4))


def test_no_two_branches_play_the_same_campaign():
    seeds = [np.random.SeedSequence(0)] + [
        branch_seed(0, branch, *path) for branch in Branch for path in [(), (0,), (1,)]
    ]
    words = [first_words(seed) for seed in seeds]
    assert all(one != other for one, other in combinations(words, 2))
    assert first_words(evaluation_seed(7, 2)) == first_words(branch_seed(7, Branch.EVALUATION, 2))


def test_a_report_shows_a_campaign_that_no_sweep_validates_on():
    simulator = AuctionSimulator(AuctionConfig(num_users=50))
    simulator.reset(branch_seed(0, Branch.REPORT))
    shown = simulator.observe(simulator.pending)
    simulator.reset(branch_seed(0, Branch.VALIDATION))
    validated = simulator.observe(simulator.pending)
    assert shown.shape != validated.shape or not np.array_equal(shown, validated)


def test_a_resumed_run_plays_other_campaigns():
    assert len({resume_seed(3, iteration) for iteration in range(50)} | {3}) == 51
