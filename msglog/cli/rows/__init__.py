"""What is in a store as plain dictionaries, whose keys are the field names of `--json`. Knows nothing of terminals."""
