"""What a trained policy thinks while it bids: the material of `rllib-seq bench probes`.

- `watch`: plays campaigns and returns a row per request, with what the encoder made of it
- `Minds`: reads features and attention of a model of ours while it acts
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.references.oracles import BayesBids
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.training.acting.actor import PolicyActor
from rllib_seq.training.evaluation.policies import TrainedBids
from rllib_seq.training.seeds import evaluation_seed

Array = NDArray[Any]

TYPES = ("no impression", "impression", "click", "visit")
"""What a token may tell of the request before it; of several the last."""


class Minds:
    """Reads a model while it acts.

    Args:
        model: with the policy network of ours, of either API stack.

    Raises:
        UserError: it is another model.
    """

    def __init__(self, model: Any) -> None:
        policy = getattr(model, "policy", None)
        if policy is None or not hasattr(policy, "encoder"):
            raise UserError(
                f"probes read our policy networks, and this run has a {type(model).__name__}; give "
                "a run of 'lstm_transformer' or of use_sequence_module"
            )
        if not hasattr(policy.encoder, "pool"):
            raise UserError(
                f"probes read the attention of a pooling, and encoder="
                f"{policy.encoder.config.encoder!r} has none; give a run of 'window' or 'causal'"
            )
        self._policy = policy
        self._encoder = policy.encoder
        self.slots = policy.encoder.config.window_length
        self._softmax: Any = None
        self._features: list[torch.Tensor] = []
        self._attention: list[torch.Tensor] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        """Within it, everything that the encoder makes is kept until `take`."""
        # The last softmax before the pooled answer is normalised is that of the pooling.
        plain = torch.softmax

        def softmax(*args: Any, **kwargs: Any) -> torch.Tensor:
            self._softmax = plain(*args, **kwargs)
            return self._softmax

        def pooled(module: Any, inputs: Any) -> None:
            self._attention.append(self._softmax)

        def encoded(module: Any, inputs: Any, output: torch.Tensor) -> None:
            self._features.append(output.detach().reshape(-1, output.shape[-1]))

        hooks = [
            self._encoder.pool_norm.register_forward_pre_hook(pooled),
            self._encoder.head.register_forward_hook(encoded),
        ]
        try:
            with mock.patch("torch.softmax", softmax):
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def take(self) -> tuple[Array, Array]:
        """What was made since the last call.

        Returns:
            features `[n, d_model]`, and how much of the pooling's attention, in the mean of its
            heads, went to each age, newest first, `[n, L]`.
        """
        features = torch.cat(self._features).numpy()
        shares = np.zeros((len(features), self.slots), np.float32)
        begin = 0
        for score in self._attention:
            # Windows: [n, L, heads]; causal, a single step: [n, 1, heads, 1, P + 1].
            part = score.mean(2) if score.dim() == 3 else score[:, 0, :, 0].mean(1)
            newest_first = part.flip(1).numpy()
            end = begin + len(newest_first)
            shares[begin:end, : newest_first.shape[1]] = newest_first
            begin = end
        self._features, self._attention = [], []
        return features, shares


def watch(actor: PolicyActor, world: AuctionConfig, seeds: Sequence[int]) -> dict[str, Array]:
    """Plays a campaign of each seed.

    Args:
        actor: a policy with a model of ours, for users as streams.
        world: whose users and market.
        seeds: of campaigns.

    Returns:
        columns `[N, ...]`: campaign, user, request, channel, stage, belief, bid, bayes_bid,
        features `[N, d_model]`, attention `[N, L]` and kinds `[N, L]` (numbers in `TYPES` of what
        the token of that age tells; -1 where there is none).
    """
    minds = Minds(actor.policy.network.model)
    simulator = AuctionSimulator(world.for_evaluation())
    steps = []
    for number, seed in enumerate(seeds):
        simulator.reset(evaluation_seed(seed, 0))
        bayes, policy = BayesBids(), TrainedBids(actor)
        for bidder in (bayes, policy):
            bidder.start(simulator)
        kinds = np.full((simulator.num_users, minds.slots), -1)
        outcome_of = np.zeros(simulator.num_users, np.int64)  # of the last request, in TYPES
        while not simulator.done:
            users = simulator.pending
            kinds[users] = np.concatenate([outcome_of[users, None], kinds[users, :-1]], axis=1)
            with minds.open():
                bids = policy.bids(users)
            features, attention = minds.take()
            steps.append(
                {
                    "campaign": np.full(len(users), number),
                    "user": users.copy(),
                    "request": simulator.request[users].copy(),
                    "channel": simulator.channel(users).copy(),
                    "stage": simulator.stage[users].copy(),
                    "belief": bayes.belief[users].copy(),
                    "bayes_bid": bayes.bids(users),
                    "bid": bids,
                    "features": features,
                    "attention": attention,
                    "kinds": kinds[users],
                }
            )
            outcome = simulator.step(bids)
            bayes.update(users, outcome)
            outcome_of[users] = np.select(
                [outcome.visited, outcome.clicked, outcome.won], [3, 2, 1], 0
            )
            steps[-1]["won"] = outcome.won.copy()
    return {name: np.concatenate([step[name] for step in steps]) for name in steps[0]}
