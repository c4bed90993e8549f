"""What is kept to be quick, and can be made again."""
