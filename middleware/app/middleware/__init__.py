"""The chat API: runs the tool loop between the LLM and MCP."""
