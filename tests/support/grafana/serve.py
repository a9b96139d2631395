#!/usr/bin/env python3
"""Answers as Grafana does to its health check and to Prometheus: `serve.py PORT`."""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ANSWERS = {
    "/api/health": ("application/json", '{"database": "ok"}'),
    "/metrics": (
        "text/plain; version=0.0.4; charset=utf-8",
        f"""# TYPE process_start_time_seconds gauge
process_start_time_seconds {time.time():.2f}
# TYPE grafana_http_request_in_flight gauge
grafana_http_request_in_flight 1
""",
    ),
}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path not in _ANSWERS:
            self.send_error(404)
            return
        media_type, text = _ANSWERS[self.path]
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing: a scrape each ten seconds is no news."""


ThreadingHTTPServer(("", int(sys.argv[1])), _Handler).serve_forever()
