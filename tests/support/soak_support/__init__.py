"""What wears the sandbox down: a house of service and runner, and callers."""
