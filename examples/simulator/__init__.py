"""A CRM simulator: tenants whose best possible predictions are known, because the process is.

simulate() gives the rows of a tenant's past, oracle_probability() the best possible prediction
for its leads, live_changes() what happens next, open_leads() a great many leads for benchmarks.
Everything follows from the arguments: there is no clock and no global random state.
"""
