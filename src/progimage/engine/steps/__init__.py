"""The steps of the pipeline: each takes a frame and the plan, and returns the frame changed."""
