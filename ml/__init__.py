"""Pure functions and small classes on data frames and arrays: no database, no Dagster, no clock."""
