"""Which version serves: what lets it, what refuses it, and what the audit trail says of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from ml.gate import Check, Gate
from ml.settings import Governance
from ml.tables import Tables
from tests.counting_model import MODEL, SPEC
from warehouse import alerts, audit, deployment, models, queue, tenants
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.scoring import Champions, score_open_leads

ACME, BRIO = "acme", "brio"
PASSED, REFUSED = (Gate((Check("log_loss", passed, "so it is"),)) for passed in (True, False))
FREE, ASKED = Governance(), Governance(approval=True)


@pytest.fixture
def acme(database: Database) -> Database:
    for tenant_id in (ACME, BRIO):
        tenants.add(database, tenant_id)
    return database


def register(database: Database, log_odds: float = 0.0) -> int:
    """A version of acme that gives every lead these log-odds."""
    model = replace(MODEL, predictor=Tables.constant(len(SPEC.features), log_odds))
    with database.tenant(ACME) as connection:
        return models.register(connection, ACME, model, metrics={}, run_id="run")


def trained(database: Database, gate: Gate, governance: Governance) -> tuple[int, bool]:
    version = register(database)
    with database.tenant(ACME) as connection:
        serves = deployment.after_training(connection, ACME, version, gate, governance, actor="run")
    return version, serves


def deploy(database: Database, version: int, governance: Governance = FREE) -> None:
    with database.tenant(ACME) as connection:
        deployment.deploy(connection, ACME, version, governance, actor="ann", why="a test")


def status(database: Database, version: int) -> str:
    with database.tenant(ACME) as connection:
        return models.find(connection, ACME, version).status


def open_alerts(database: Database) -> list[str]:
    with database.tenant(ACME) as connection:
        return [alert.kind for alert in alerts.open_alerts(connection, ACME)]


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(GalenaError) as refused:
        act()
    return str(refused.value)


def test_what_passes_its_gate_serves_and_what_does_not_is_kept(acme: Database) -> None:
    first, serves = trained(acme, PASSED, FREE)
    assert (serves, status(acme, first)) == (True, "deployed")
    second, serves = trained(acme, REFUSED, FREE)
    assert (serves, status(acme, second)) == (False, "rejected")
    assert status(acme, first) == "deployed"
    assert open_alerts(acme) == ["model_rejected"]
    third, serves = trained(acme, PASSED, FREE)
    assert (serves, status(acme, third), status(acme, first)) == (True, "deployed", "deprecated")
    assert open_alerts(acme) == []


def test_a_person_approves_before_a_version_serves(acme: Database) -> None:
    version, serves = trained(acme, PASSED, ASKED)
    assert (serves, status(acme, version)) == (False, "awaiting_approval")
    assert open_alerts(acme) == ["model_awaits_approval"]
    assert f"galena model approve {ACME} {version}" in refusal(lambda: deploy(acme, version, ASKED))
    with acme.tenant(ACME) as connection:
        deployment.approve(connection, ACME, version, actor="ann", why="looks right")
        found = models.find(connection, ACME, version)
    assert (found.status, found.approved_by) == ("approved", "ann")
    assert open_alerts(acme) == []
    deploy(acme, version, ASKED)
    assert status(acme, version) == "deployed"


def test_a_version_that_served_before_needs_no_second_approval(acme: Database) -> None:
    first, _ = trained(acme, PASSED, FREE)
    trained(acme, PASSED, FREE)
    deploy(acme, first, ASKED)
    assert status(acme, first) == "deployed"


def test_rolling_back_goes_back_version_by_version(acme: Database) -> None:
    first, second, third = (register(acme) for _ in range(3))
    for version in (first, second, third):
        deploy(acme, version)

    def back() -> int:
        with acme.tenant(ACME) as connection:
            return deployment.rollback(connection, ACME, actor="ann", why="worse")

    assert back() == second
    assert back() == first
    assert "before the one that serves" in refusal(back)
    # One that is deployed after a return is followed by what it replaced.
    deploy(acme, third)
    assert back() == first
    with acme.tenant(ACME) as connection:
        told = [(one.action, one.version) for one in audit.of_models(connection, ACME)]
    # Behind three that were registered, and three that were deployed.
    assert told[6:10] == [
        ("model.rollback", third),
        ("model.champion", second),
        ("model.rollback", second),
        ("model.champion", first),
    ]


def test_what_was_deployed_again_by_hand_is_no_return(acme: Database) -> None:
    first, second = register(acme), register(acme)
    for version in (first, second, first):
        deploy(acme, version)
    with acme.tenant(ACME) as connection:
        assert deployment.previous(connection, ACME) == second


def test_a_retired_version_does_not_serve_again(acme: Database) -> None:
    first, second, third = (register(acme) for _ in range(3))
    for version in (first, second, third):
        deploy(acme, version)

    def retire(version: int) -> None:
        with acme.tenant(ACME) as connection:
            deployment.retire(connection, ACME, version, actor="ann", why="old")

    assert "is deployed" in refusal(lambda: retire(third))
    retire(second)
    assert status(acme, second) == "retired"
    assert "is retired" in refusal(lambda: deploy(acme, second))
    with acme.tenant(ACME) as connection:
        assert deployment.rollback(connection, ACME, actor="ann", why="worse") == first


def test_deploying_queues_the_open_leads_and_the_next_scoring_uses_it(acme: Database) -> None:
    now = datetime.now(UTC)
    with acme.tenant(ACME) as connection:
        connection.execute(
            text(
                "INSERT INTO crm.leads (tenant_id, lead_id, created_at, converted_at)"
                " VALUES (:t, 'open', :at, NULL), (:t, 'won', :at, :at)"
            ),
            {"t": ACME, "at": now - timedelta(days=2)},
        )
    champions = Champions()
    even, sure = register(acme, 0.0), register(acme, 4.0)
    deploy(acme, even)
    assert score_open_leads(acme, ACME, champions, "run").mean_probability == 0.5
    assert queue.waiting(acme) == []
    deploy(acme, sure)
    assert [one.tenant_id for one in queue.waiting(acme)] == [ACME]
    with acme.tenant(ACME) as connection:
        queued = connection.scalars(text("SELECT lead_id FROM crm.rescore_queue")).all()
    assert queued == ["open"]
    assert score_open_leads(acme, ACME, champions, "run").mean_probability > 0.98


def test_a_document_that_is_not_the_registered_one_is_not_deployed(acme: Database) -> None:
    tampered, foreign, pickled = (register(acme) for _ in range(3))
    with acme.tenant(ACME) as connection:
        change = text("UPDATE ml.models SET artifact = :data WHERE version = :version")
        connection.execute(change, {"data": b'{"format": 2}', "version": tampered})
        both = text(
            "UPDATE ml.models SET artifact = :data, sha256 = encode(sha256(:data), 'hex')"
            " WHERE version = :version"
        )
        connection.execute(both, {"data": b'{"tree": []}', "version": foreign})
        # What unpickling would run.
        evil = b"cos\nsystem\n(S'touch /tmp/galena-was-here'\ntR."
        connection.execute(both, {"data": evil, "version": pickled})
    assert "sha256 differs" in refusal(lambda: deploy(acme, tampered))
    assert "cannot be read by this release" in refusal(lambda: deploy(acme, foreign))
    assert "not JSON" in refusal(lambda: deploy(acme, pickled))


def test_another_tenant_deploys_and_rolls_back_nothing_of_ones_own(acme: Database) -> None:
    first, second = register(acme), register(acme)
    for version in (first, second):
        deploy(acme, version)
    with acme.tenant(BRIO) as connection:
        for act in (
            lambda: deployment.deploy(connection, ACME, first, FREE, actor="", why=""),
            lambda: deployment.approve(connection, ACME, first, actor="", why=""),
            lambda: deployment.retire(connection, ACME, first, actor="", why=""),
            lambda: deployment.rollback(connection, ACME, actor="", why=""),
        ):
            refusal(act)
        assert audit.of_models(connection, ACME) == []
    assert status(acme, second) == "deployed"


def test_of_a_test_the_challenger_that_serves_is_no_challenger_any_more(acme: Database) -> None:
    first, second = register(acme), register(acme)
    deploy(acme, first)
    with acme.tenant(ACME) as connection:
        models.promote(connection, ACME, second, "challenger", actor="ann", why="a test")
    assert (status(acme, first), status(acme, second)) == ("deployed", "challenger")
    deploy(acme, second)
    assert (status(acme, first), status(acme, second)) == ("deprecated", "deployed")
    with acme.tenant(ACME) as connection:
        assert models.aliased(connection, ACME, "challenger") is None
        shown = connection.execute(
            text("SELECT version FROM serving.models_v1 WHERE status = 'deployed'")
        )
        assert shown.scalars().all() == [second]


def test_nothing_is_retired_while_somebody_else_lets_it_serve(acme: Database) -> None:
    first, second = register(acme), register(acme)
    for version in (first, second):
        deploy(acme, version)
    with acme.tenant(ACME) as rolling_back, ThreadPoolExecutor() as other:
        deployment.rollback(rolling_back, ACME, actor="ann", why="worse")
        retiring = other.submit(_retire, acme, first)
        # It waits for the rollback's end, and then finds the version serving.
        with pytest.raises(TimeoutError):
            retiring.result(0.5)
        rolling_back.commit()
        with pytest.raises(GalenaError, match="is deployed"):
            retiring.result(20)
    assert status(acme, first) == "deployed"


def _retire(database: Database, version: int) -> None:
    with database.tenant(ACME) as connection:
        deployment.retire(connection, ACME, version, actor="bob", why="old")
