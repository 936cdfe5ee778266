"""How likely a user answers, given their own past; and whether that past pays.

- `table`: any event table with outcomes as arrays (`ResponseTable`).
- `history`: what is known of a user's past at each step, and the features made of it.
- `logistic`: logistic regression, the memoryless reference and the one with counted history.
- `model`: `ResponseModel`, a `StreamEncoder` over the user's stream.
- `comparison`: the three on later days and on users never seen, with intervals.
- `step_graph`: the model as an ONNX graph that reads one step at a time.
- `command`: what `rllib-seq response` does.
"""
