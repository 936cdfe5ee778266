"""The seed tree: which campaigns training, evaluation and reports play, so that none meet.

Training draws its campaigns from the root of a seed. Everything else draws from a branch.

- `Branch`: the branches
- `branch_seed`: a seed of a branch
- `evaluation_seed`: of an evaluation campaign
- `resume_seed`: of a run that continues
"""

from __future__ import annotations

import enum

import numpy as np


class Branch(enum.IntEnum):
    """What a branch of the seed tree is for."""

    REFERENCE = 1
    """The campaign that Bayes' rule plays, to show training progress in % of it."""
    EVALUATION = 2
    """Campaigns that compare policies."""
    VALIDATION = 3
    """The campaign that ranks the trials of a sweep."""
    REPORT = 4
    """The campaign that a report shows."""
    FUTURES = 5
    """Futures that are sampled again from one moment of a campaign."""


def branch_seed(seed: int, branch: Branch, *path: int) -> np.random.SeedSequence:
    """Return the seed at `path` below a branch.

    Examples:
        >>> branch_seed(7, Branch.EVALUATION, 0).spawn_key
        (2, 0)
    """
    return np.random.SeedSequence(seed, spawn_key=(int(branch), *path))


def evaluation_seed(seed: int, episode: int) -> np.random.SeedSequence:
    """Return the seed of evaluation campaign `episode`, the same for every policy."""
    return branch_seed(seed, Branch.EVALUATION, episode)


def resume_seed(seed: int, iteration: int) -> int:
    """Return the seed of a run that continues after `iteration`: no campaign is played twice."""
    return int(np.random.SeedSequence((seed, iteration)).generate_state(1)[0] >> 1)
