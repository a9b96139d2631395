"""The MCP gateway: one endpoint in front of all tool services."""
