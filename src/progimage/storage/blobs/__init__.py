"""The stores of originals and their smaller copies, and reading them as they were uploaded."""
