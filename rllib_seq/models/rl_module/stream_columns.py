"""Columns of a batch that a stream draws at its first step and keeps to its end.

- `StreamColumns`: the connector that adds them
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from ray.rllib.connectors.connector_v2 import ConnectorV2

_KEY = "stream_columns"


class StreamColumns(ConnectorV2):
    """Adds to a batch what `draw` drew for each acting stream at its first step.

    It stays with the episode, so it survives the end of a fragment and goes when the stream ends.
    """

    def draw(self, count: int) -> dict[str, NDArray[Any]]:
        """Draw for `count` streams that begin: columns `[count]`."""
        raise NotImplementedError

    def __call__(
        self, *, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Add the columns; RLlib calls this."""
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=True):
            drawn = episode.custom_data.get(_KEY)
            if drawn is None:
                drawn = {name: column[0] for name, column in self.draw(1).items()}
                episode.custom_data[_KEY] = drawn
            for name, value in drawn.items():
                self.add_batch_item(batch, name, value, episode)
        return batch
