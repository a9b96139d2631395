"""HTTP only: parse, call one decision, render."""
