"""HTTP: parse, call one decision, render."""
