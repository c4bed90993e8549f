"""What the service is: images that are added, found, changed, rendered and removed, from whatever door."""
