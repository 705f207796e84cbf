"""Guards: what goes to a provider and what comes back is looked at here, each guard by itself."""
