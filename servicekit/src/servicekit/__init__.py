"""What every service shares: settings, errors, logs, metrics, health, context, the MCP bridge."""
