"""The sequence networks as RLModules of RLlib's new API stack.

- `setup`: `use_sequence_module`, for PPO, APPO and IMPALA; `configure`: what it shares with DQN's
- `sequence_module`: policy and value; `windowed_module`: what it shares with the Q module
- `episode_windows`: the connector that rebuilds windows from episodes
- `episode_states`: the connectors that keep the states of recurrent modules
- `stream_windows`, `stream_columns`: the same where there are no episodes
"""
