"""The path of a bid request: bytes, queries, batches, markup, bytes."""
