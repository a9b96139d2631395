"""The runner: a process of its own that forks isolated workers. Standard library only."""
