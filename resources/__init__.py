"""Dagster resources: thin wrappers that configure what lies below."""
