#!/bin/sh
# Two runs in one session of the sandbox: the second one sees the first one's variables.
set -eu
url=${SANDBOX_URL:-http://localhost:8001}

post() {
    curl --silent --show-error --write-out '\n' --fail-with-body --max-time 30 "$url$1" \
        --header 'Content-Type: application/json' --data "$2"
}

session=$(post /sessions '{}' | sed 's/.*"session_id": *"\([^"]*\)".*/\1/')
[ -n "$session" ] || exit 1
post /execute "{\"session_id\": \"$session\", \"code\": \"x = 6\"}"
post /execute "{\"session_id\": \"$session\", \"code\": \"x * 7\", \"timeout_seconds\": 5}"
curl --silent --show-error --fail --max-time 30 --request DELETE "$url/sessions/$session"
