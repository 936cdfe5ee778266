"""From a `tune_configs` module to a finished run.

- `experiment`: module and options to a checked AlgorithmConfig
- `run_folder`: what a run leaves on disk, and how it is found again
- `trainer`: the training loop
- `evaluation`: trained and reference policies on the same fresh campaigns
- `report`: one HTML page
"""
