"""Language models: one way to call them. Neither Dagster nor a database is known in here: what is
to be stored is declared in ai.stores, and the clock comes in from outside."""
