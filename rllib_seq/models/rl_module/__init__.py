"""The sequence networks as RLModules of RLlib's new API stack.

- `setup`: `use_sequence_module`, for PPO, APPO and IMPALA; `configure`: what it shares with DQN's
- `sequence_module`: policy and value; `windowed_module`: what it shares with the Q module
- `windows`: the last steps of streams as columns, with RLlib's episodes and without
- `connectors`: what brings the steps of episodes to a module
- `episode_states`: the connectors that keep the states of recurrent modules
"""
