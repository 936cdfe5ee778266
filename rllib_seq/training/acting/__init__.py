"""Acting with what was trained, and evaluating it in any environment.

- `loading`: `load_policy`, from a run folder or a checkpoint to a policy
- `policy`: `TrainedPolicy` with `predict`
- `actor`: a policy with the states of many streams, as simulators play it
- `networks`: an RLlib policy or module as a function from state and step to outputs and state
- `preprocessing`: what RLlib does to observations before a network sees them
- `spaces`: one observation or a batch, and actions for an environment
- `evaluation`: `evaluate_policy`
"""
