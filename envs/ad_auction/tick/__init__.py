"""Campaign mode: 48 ticks a day, thousands of requests per step."""
