"""A judge of what the service makes, which shares no codec with it: `make conformance`."""
