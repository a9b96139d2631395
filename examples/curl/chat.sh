#!/bin/sh
# Ask one question; the answer lists the tools that were called for it.
# Usage: examples/curl/chat.sh [question without double quotes]
set -eu
url=${MIDDLEWARE_URL:-http://localhost:8002}
question=${1:-What time is it?}

curl --silent --show-error --write-out '\n' --fail-with-body --max-time 90 "$url/chat" \
    --header 'Content-Type: application/json' \
    --data "{\"messages\": [{\"role\": \"user\", \"content\": \"$question\"}]}"
