"""What Dagster loads, and the `galena` command."""
