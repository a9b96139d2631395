"""What talks to the system."""
