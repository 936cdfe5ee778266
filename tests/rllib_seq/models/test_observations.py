"""What stands where in a flat observation, on both API stacks."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from ray.rllib.models.preprocessors import get_preprocessor

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.models.observations import StepSpace
from rllib_seq.models.step_inputs import StepInputs
from rllib_seq.nn.step_reader import Frame, Number, StepParts


def test_the_spaces_of_an_environment_become_parts() -> None:
    space = Dict(
        {
            "camera": Box(0, 255, (8, 9, 1), np.uint8),
            "page": MultiDiscrete([100, 3]),
            "small": Box(0, 1, (4, 4, 3), np.float32),
            "user": Discrete(1000),
        }
    )
    settings = SequenceConfig(prev_action=False, prev_reward=False)
    flat = StepSpace(space, settings.embed_above)
    assert flat.shape == (72 + 1 + 3 + 48 + 1,) and flat.dtype == np.float32
    inputs = StepInputs(flat, Discrete(2), settings)
    assert inputs.width == 125
    assert inputs.parts == StepParts(
        frames=(Frame(0, (8, 9, 1), 0.0, 255.0),), numbers=(Number(72, 100), Number(124, 1000))
    )
    seen = {key: part.sample() for key, part in space.items()} | {
        "page": np.array([99, 1]),
        "user": 999,
    }
    row = torch.from_numpy(flat.rows(seen, 1))
    read = inputs.join(row, None, None, torch.ones(1, dtype=torch.bool))[0]
    assert read[:72].tolist() == seen["camera"].ravel().tolist()
    assert read[72:76].tolist() == [99, 0, 1, 0] and read[-1] == 999
    bytes_alone = StepSpace(space["camera"], 64)
    assert bytes_alone.dtype == np.uint8 and bytes_alone.rows(seen["camera"], 1).dtype == np.uint8
    with pytest.raises(UserError, match="feature 72 is not in 0..99;"):
        inputs.join(row + 1.0, None, None, torch.ones(1, dtype=torch.bool))
    with pytest.raises(UserError, match=r"observations\['camera'\] have 71 numbers"):
        flat.rows({**seen, "camera": np.zeros(71)}, 1)


@pytest.mark.parametrize("space", [Discrete(1000), MultiDiscrete([1000, 70])])
def test_one_hot_numbers_of_the_old_stack_become_one_feature(space: Any) -> None:
    preprocessor = get_preprocessor(space)(space)
    settings = SequenceConfig(prev_action=False, prev_reward=False)
    inputs = StepInputs(preprocessor.observation_space, Discrete(2), settings)
    drawn = [space.sample() for _ in range(3)]
    rows = torch.from_numpy(np.stack([preprocessor.transform(each) for each in drawn]))
    assert rows.shape[1] >= 1000
    read = inputs.join(rows, None, None, torch.ones(3, dtype=torch.bool))
    assert read.tolist() == np.array(drawn).reshape(3, -1).tolist()
    with pytest.raises(UserError, match="are no one-hot number; do not filter observations"):
        inputs.join(rows * 0.7, None, None, torch.ones(3, dtype=torch.bool))
