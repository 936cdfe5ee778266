"""Trained models as files that are served without torch, Ray and pickles.

- `policy`: policies of any environment
- `step_graph`, `cores`: as torch graphs
- `files`: ONNX and self-tests
"""
