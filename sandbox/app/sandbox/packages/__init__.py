"""Packages from an untrusted wish to an immutable, content-addressed folder."""
