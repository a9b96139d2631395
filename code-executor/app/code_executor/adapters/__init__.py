"""What talks to other services."""
