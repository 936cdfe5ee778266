"""What a trained policy has learned."""
