"""Starts and supervises the stack on one machine, without Docker."""
