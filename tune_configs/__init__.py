"""Ready experiments: each module holds `config`, an RLlib AlgorithmConfig, and says why."""
