"""HTTP: the application, the fast path of bids, batching, figures, and one process that serves."""
