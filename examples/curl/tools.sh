#!/bin/sh
# List the tools, then call one without a model.
set -eu
url=${MIDDLEWARE_URL:-http://localhost:8002}

curl --silent --show-error --write-out '\n' --fail-with-body --max-time 30 "$url/tools"
curl --silent --show-error --write-out '\n' --fail-with-body --max-time 30 "$url/execute" \
    --header 'Content-Type: application/json' \
    --data '{"name": "execute_code", "parameters": {"code": "print(2**100)"}}'
