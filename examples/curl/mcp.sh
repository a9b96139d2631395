#!/bin/sh
# Call a tool over MCP by hand. Protocol version 2026-07-28 needs no session: one POST is all.
set -eu
url=${GATEWAY_URL:-http://localhost:8000}

curl --silent --show-error --write-out '\n' --fail-with-body --max-time 30 "$url/mcp" \
    --header 'Content-Type: application/json' \
    --header 'Accept: application/json, text/event-stream' \
    --header 'MCP-Protocol-Version: 2026-07-28' \
    --header 'Mcp-Method: tools/call' \
    --header 'Mcp-Name: get_timezone_time' \
    --data '{
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": "get_timezone_time", "arguments": {"timezone": "Asia/Tokyo"},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "curl", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {}
            }
        }
    }'
