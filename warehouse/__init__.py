"""PostgreSQL: the schema and its migrations, connections bound to one tenant, bulk I/O."""
