"""A deterministic command interpreter behind the OpenAI chat API."""
