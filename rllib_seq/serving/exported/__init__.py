"""What `rllib-seq export` wrote: the policy, what it says of itself, and what runs it."""
