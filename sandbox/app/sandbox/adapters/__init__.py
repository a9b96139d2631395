"""The only rooms that talk to another system: the runner's socket, the installer, the disk."""
