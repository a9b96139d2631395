"""Reading what people type: from words to requests."""
