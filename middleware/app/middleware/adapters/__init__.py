"""The only rooms that talk to other systems."""
