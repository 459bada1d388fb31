"""Dashboards as one table (`tables`), and what makes Grafana's JSON of them (`generate`)."""
