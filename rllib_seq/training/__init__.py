"""From a `tune_configs` module to a finished run.

- `experiment`: module and options to a checked AlgorithmConfig
- `run_folder`: what a run leaves on disk, and how it is found again
- `ray_session`: a local Ray, or a cluster; `storage`: folders by path or URI
- `iterations`, `trainer`: rows of progress, and the training loop
- `evaluation`: trained and reference policies on the same fresh campaigns
- `report`: one HTML page
- `sweep`: many trials by Ray Tune; `search_space`, `trial`, `default_trial`, `sweep_folder`,
  `sweep_console`, `sweep_results` and `sweep_report` are its parts
"""
