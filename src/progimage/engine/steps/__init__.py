"""The steps of the pipeline.

Each takes a frame, the operations of the present stage and the plan, and returns the frame changed.
"""
