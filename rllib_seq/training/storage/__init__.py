"""Run folders, files that are never half there, and remote storage."""
