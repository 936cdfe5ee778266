"""From a module and options to a checked AlgorithmConfig."""
