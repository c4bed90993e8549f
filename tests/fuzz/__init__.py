"""Coverage-guided fuzzing of what a worker does with an upload: `make fuzz`."""
