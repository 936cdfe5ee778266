"""How models act for many streams at once, and what they carry from step to step.

- `module_actor`: an RLModule of the new API stack
- `policy_actor`: a policy of the old one
- `memories`, `stock_models`: what a policy carries: of this package's model, and of RLlib's own
- `carried_states`: the states of many streams, and copies where sequences begin
- `value_states`: what the value network makes of pieces that were played
"""
