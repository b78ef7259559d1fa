"""Generates the dashboards: python3 -m generator [--check]. See dashboards/README.md."""
