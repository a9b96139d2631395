"""Grafana's dashboards as code: a board is a list of panels, a panel is a question with a query."""
