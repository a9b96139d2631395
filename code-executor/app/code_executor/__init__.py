"""MCP tools for code and packages, forwarded to the sandbox."""
