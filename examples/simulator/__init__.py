"""A CRM simulator: tenants whose best possible predictions are known, because the process is.

simulate() gives the rows of a tenant's past, oracle_probability() the best possible prediction
for its leads, live_changes() what happens next, and live_events() the same event by event,
open_leads() a great many leads for benchmarks.
Everything follows from the arguments: there is no clock and no global random state.
"""

from examples.simulator.bulk import open_leads
from examples.simulator.crm import SimulatedCrm, simulate
from examples.simulator.live import Change, live_changes, live_events
from examples.simulator.oracle import oracle_probability
from examples.simulator.profile import TenantProfile
from examples.simulator.profiles import PROFILES
from examples.simulator.truth import Truth

__all__ = [
    "PROFILES",
    "Change",
    "SimulatedCrm",
    "TenantProfile",
    "Truth",
    "live_changes",
    "live_events",
    "open_leads",
    "oracle_probability",
    "simulate",
]
