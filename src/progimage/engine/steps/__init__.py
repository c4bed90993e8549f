"""The steps of the pipeline.

Each takes a frame, the operations of the current stage and the plan, and returns the changed frame.
"""
