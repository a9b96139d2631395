"""HTTP alone: parse, call one decision, render."""
