"""The HTTP API. It never touches pixels: workers do."""
