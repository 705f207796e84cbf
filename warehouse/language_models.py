"""The language models of a process: the one path of ai.gateway, with what it needs stored here."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING

from warehouse import master_key
from warehouse.alerts import StoredAlerts
from warehouse.customer_names import CustomerNames
from warehouse.database import Database
from warehouse.llm_answers import StoredAnswers
from warehouse.llm_ledger import StoredLedger
from warehouse.tenant_keys import TenantKeys

if TYPE_CHECKING:
    from ai.gateway import Gateway


def gateway(
    database: Database, environment: Mapping[str, str], clock: Callable[[], datetime]
) -> "Gateway":
    """The gateway that the environment configures: GALENA_LLM_CONFIG, the master key, the keys of
    providers. One serves a whole process; keep it.

    Raises ConfigurationError: the configuration cannot be used.
    """
    from ai import configuration, metrics, telemetry
    from ai.candidates import Pool
    from ai.gateway import Gateway
    from ai.guards.injection import Detector

    found = configuration.from_environment(environment)
    telemetry.configure()
    pool = Pool(found, environment, clock, StoredAlerts(database))
    metrics.watch(pool.report)
    keys = TenantKeys(database, partial(master_key.read, environment))
    return Gateway(
        found,
        pool,
        answers=StoredAnswers(database, keys),
        ledger=StoredLedger(database),
        names=CustomerNames(database),
        detector=Detector.load(),
        clock=clock,
        # Its markers are to be foreseen by nobody.
        rng=SystemRandom(),
    )
