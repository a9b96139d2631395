"""MCP tools for time."""
