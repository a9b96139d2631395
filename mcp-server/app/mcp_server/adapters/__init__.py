"""The only rooms that talk to another system."""
