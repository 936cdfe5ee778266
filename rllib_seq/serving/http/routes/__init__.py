"""What FastAPI serves: notices, shown ads, users."""
