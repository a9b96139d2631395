"""Runs untrusted Python and installs vetted packages."""
