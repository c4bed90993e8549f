"""What every request passes on its way in, and its answer on the way out."""
