"""What the encoders cost, beside RLlib's own LSTM and GTrXL: bytes of state, time per step.

    rllib-seq bench encoders --json encoders.json

Every contender is a model of RLlib's old API stack for the ad auction (17 bids), width 64, with its
value; "shared" is `share_encoder=True`. Acting: one step of 64 streams that have a long past.
Learning: forward and backward of 96 new streams of 32 steps, without RLlib's losses and optimizer,
which cost the same for all. One thread, all contenders in turn, medians of nine rounds of processor
time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ray.rllib.models import ModelCatalog
from ray.rllib.models.catalog import MODEL_DEFAULTS
from ray.rllib.policy.sample_batch import SampleBatch

import rllib_seq  # noqa: F401, names the model to RLlib
from rllib_seq.benchmarks.result import Check, Result, Row
from rllib_seq.benchmarks.speed import one_thread
from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator

ROUNDS = 9
WIDTH = 64
STREAMS = 64
SEQUENCES, STEPS = 96, 32
WINDOWS = (8, 32)
CAUSAL = (8, 32, 128, 256)
UNITS = 3
LSTM = "RLlib use_lstm"
LIMITS = {"lstm, shared": 1.3, "causal, L = 8, shared": 2.5}
"""At most so many times what RLlib's LSTM costs per learned step, with one network for both."""


def run() -> Result:
    """Measures everything."""
    with one_thread():
        rows = _measured()
    learn = {row["encoder"]: row["learn_us_per_step"] for row in rows}
    checks = []
    for length in WINDOWS:
        ratio = learn[f"causal, L = {length}"] / learn[f"RLlib GTrXL, memory {length}"]
        checks.append(Check(f"causal, L = {length}, to GTrXL with that memory", ratio, "<=", 1.0))
    for name, limit in LIMITS.items():
        checks.append(Check(f"{name} to {LSTM}", learn[name] / learn[LSTM], "<=", limit))
    return Result.of_rows(f"d_model {WIDTH}, one thread", rows, checks)


def _measured() -> list[Row]:
    contenders = {f"window, L = {length}": _ours("window", length) for length in WINDOWS}
    contenders |= {f"causal, L = {length}": _ours("causal", length) for length in CAUSAL}
    contenders["causal, L = 8, shared"] = _ours("causal", 8, share_encoder=True)
    contenders["lstm"] = _ours("lstm", WINDOWS[0])
    contenders["lstm, shared"] = _ours("lstm", WINDOWS[0], share_encoder=True)
    contenders[LSTM] = _Contender({"use_lstm": True, "lstm_cell_size": WIDTH})
    contenders |= {f"RLlib GTrXL, memory {length}": _gtrxl(length) for length in WINDOWS}
    rows: list[Row] = [
        {"encoder": name, "state_bytes": contender.state_bytes}
        for name, contender in contenders.items()
    ]
    for what in ("act", "learn"):
        jobs = {name: getattr(contender, what)() for name, contender in contenders.items()}
        steps = STREAMS if what == "act" else SEQUENCES * STEPS
        seconds: dict[str, list[float]] = {name: [] for name in jobs}
        for _ in range(ROUNDS + 1):  # the first one warms up
            for name, job in jobs.items():
                seconds[name].append(_timed(job))
        for row in rows:
            median = statistics.median(seconds[row["encoder"]][1:])
            row[f"{what}_us_per_step"] = round(1e6 * median / steps, 1)
    return rows


class _Contender:
    """A model of RLlib's old API stack, with everything that it may ask for."""

    def __init__(self, settings: dict[str, Any], memory: int = 0) -> None:
        world = AuctionConfig()
        simulator = AuctionSimulator(world)
        actions: Any = world.build_actions(simulator.preset).space
        config = {**MODEL_DEFAULTS, **settings, "max_seq_len": STEPS}
        torch.manual_seed(0)
        self.model = ModelCatalog.get_model_v2(
            simulator.observation_space, actions, int(actions.n), config, framework="torch"
        )
        self.features, self.actions = simulator.observation_space.shape[0], int(actions.n)
        self.memory = memory
        if memory:  # GTrXL's is a column of past inputs of its units
            self.state = [torch.randn(memory, WIDTH) for _ in range(UNITS)]
        else:
            self.state = [torch.as_tensor(part) for part in self.model.get_initial_state()]
        self.state_bytes = sum(part.nbytes for part in self.state)

    def act(self) -> Callable[[], Any]:
        """One step of every stream."""
        batch = self._batch(STREAMS)
        self.model.eval()
        with torch.no_grad():
            state = self._state(STREAMS)
            lens = torch.ones(STREAMS, dtype=torch.int32)
            if not self.memory:
                for _ in range(max(CAUSAL)):  # caches fill
                    _, state = self.model(batch, state, lens)

        def job() -> None:
            with torch.no_grad():
                self.model(batch, state, lens)
                self.model.value_function()

        return job

    def learn(self) -> Callable[[], Any]:
        """Forward and backward of all sequences."""
        batch, lens = self._batch(SEQUENCES * STEPS), torch.full((SEQUENCES,), STEPS)
        state = self._state(SEQUENCES)

        def job() -> None:
            self.model.train()
            outputs, _ = self.model(batch, state, lens)
            loss = outputs.square().mean() + self.model.value_function().square().mean()
            self.model.zero_grad()
            loss.backward()

        return job

    def _state(self, batch: int) -> list[torch.Tensor]:
        return [part.float().expand(batch, *part.shape).clone() for part in self.state]

    def _batch(self, rows: int) -> dict[str, Any]:
        observation = torch.randn(rows, self.features)
        return SampleBatch(
            {
                "obs": observation,
                "obs_flat": observation,
                SampleBatch.PREV_ACTIONS: torch.from_numpy(np.arange(rows) % self.actions),
                SampleBatch.PREV_REWARDS: torch.randn(rows),
            }
        )


def _ours(encoder: str, length: int, **more: Any) -> _Contender:
    settings = {"encoder": encoder, "window_length": length, "d_model": WIDTH, **more}
    return _Contender({"custom_model": "lstm_transformer", "custom_model_config": settings})


def _gtrxl(memory: int) -> _Contender:
    settings = {
        "use_attention": True,
        "attention_num_transformer_units": UNITS,
        "attention_dim": WIDTH,
        "attention_num_heads": 4,
        "attention_head_dim": WIDTH // 4,
        "attention_memory_inference": memory,
        "attention_memory_training": memory,
        "attention_position_wise_mlp_dim": 2 * WIDTH,
    }
    return _Contender(settings, memory)


def _timed(job: Callable[[], Any]) -> float:
    start = time.process_time()
    job()
    return time.process_time() - start
