"""Benchmarks import what stands beside them, as under `rllib-seq bench`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
