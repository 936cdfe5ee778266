"""Exports of any kind that follow streams step by step: policies of any environment, and others.

- `spec`: what an export says of itself
- `spaces`: Gymnasium's spaces as JSON, and values of them
- `model`: the ONNX file, verified, as a function from steps and states to answers and states
"""
