"""The simulator: who comes when, what a step does, and what it leaves behind."""
