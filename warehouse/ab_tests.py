"""A/B tests of a tenant's scoring models: started, judged while they run, ended."""

from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from warehouse import ab_outcomes, alerts, deployment, models, scores, training_settings
from warehouse.ab_records import ABTest, Mode, change, end, find, find_open, note
from warehouse.ab_scoring import ALERT
from warehouse.database import Database
from warehouse.errors import GalenaError, TenantNotFoundError, in_one_line
from warehouse.schema import ab_tests

ACTOR = "A/B test"
# Days after the first outcomes can be known. What has not shown by then is too little to matter.
DAYS = 180
# Beyond it the champion would be the one that is tried.
MOST_SHARE = 0.5


def start(
    connection: Connection,
    tenant_id: str,
    challenger_version: int,
    *,
    share: float = 0.5,
    mode: Mode = "split",
    actor: str,
) -> ABTest:
    """Begin to try a version of the lead model beside the one that serves; from its next scoring on
    each lead is in the test.

    share: of leads that the challenger serves, above 0 and at most 0.5; not read in shadow mode.
    Raises GalenaError where this version cannot be tried, or another test is open.
    """
    if mode == "split" and not 0 < share <= MOST_SHARE:
        raise GalenaError(
            f"share is {share:g}, the part of the leads that the challenger serves: give one above"
            f" 0 and at most {MOST_SHARE:g}, or leave it out and use shadow mode."
        )
    models.lock(connection, tenant_id)
    running = find_open(connection, tenant_id)
    if running is not None:
        raise GalenaError(
            f"Test {running.test_id} of tenant {tenant_id!r} is open, of version"
            f" {running.challenger} against {running.champion}: wait for its end, or"
            f" `galena test stop {tenant_id}`."
        )
    champion, horizon_days = _pair(connection, tenant_id, challenger_version, mode)
    now = scores.now(connection)
    test_id: int = connection.execute(_NEXT, {"tenant_id": tenant_id}).scalar_one()
    connection.execute(
        ab_tests.insert().values(
            tenant_id=tenant_id,
            test_id=test_id,
            champion=champion,
            challenger=challenger_version,
            mode=mode,
            share=share if mode == "split" else 0.0,
            horizon_days=horizon_days,
            started_at=now,
            started_by=actor,
            ends_at=now + timedelta(days=horizon_days + DAYS),
        )
    )
    why = f"test {test_id} against version {champion}"
    models.promote(connection, tenant_id, challenger_version, "challenger", actor=actor, why=why)
    found = find(connection, tenant_id, test_id)
    note(connection, tenant_id, found, "started", actor)
    return found


def _pair(connection: Connection, tenant_id: str, challenger: int, mode: Mode) -> tuple[int, int]:
    """The champion's version and the horizon of both; GalenaError where the two cannot be tried."""
    champion = models.champion(connection, tenant_id)
    if champion is None:
        raise GalenaError(
            f"Tenant {tenant_id!r} has no lead model that serves, so there is nothing to compare"
            f" with: `galena model deploy {tenant_id} {challenger}` lets this one serve."
        )
    tried = models.find(connection, tenant_id, challenger)
    of = f"Version {challenger} of tenant {tenant_id!r}"
    if tried.name != models.LEAD_MODEL:
        raise GalenaError(
            f"{of} is a {tried.name}, and only lead models serve leads: `galena model list"
            f" {tenant_id}` shows which versions are."
        )
    if tried.version == champion.version:
        raise GalenaError(
            f"{of} is the champion itself: name another, `galena model list {tenant_id}` shows"
            " them."
        )
    if tried.retired_at is not None:
        raise GalenaError(
            f"{of} is retired: name another, `galena model list {tenant_id}` shows them."
        )
    if mode == "split" and _awaits_approval(connection, tenant_id, challenger):
        raise GalenaError(
            f"{of} would serve leads, and no person has approved it"
            f"{', though its gate refused it' if tried.refused else ''}:"
            f" `galena model approve {tenant_id} {challenger}`, or try it in shadow mode."
        )
    horizons = [
        models.load(connection, tenant_id, version).horizon_days
        for version in (champion.version, challenger)
    ]
    if horizons[0] != horizons[1]:
        raise GalenaError(
            f"{of} says what converts within {horizons[1]} days, the champion within"
            f" {horizons[0]}: the two cannot be compared, so train a version with the champion's"
            " horizon."
        )
    return champion.version, horizons[0]


def stop(connection: Connection, tenant_id: str, *, actor: str) -> ABTest:
    """End the open test; the champion stays. Raises GalenaError where none is open."""
    models.lock(connection, tenant_id)
    test = find_open(connection, tenant_id)
    if test is None:
        raise GalenaError(
            f"Tenant {tenant_id!r} has no open test: `galena test list {tenant_id}` shows those"
            " that have ended."
        )
    now = scores.now(connection)
    return end(connection, tenant_id, test, "stopped", f"stopped by {actor}", actor, now)


def judge(connection: Connection, tenant_id: str, *, now: datetime) -> ABTest | None:
    """Look at the open test as of now, and end it where it is decided; the test as it then is, None
    where none is open. One may look as often as one likes: see ml.sequential."""
    models.lock(connection, tenant_id)
    test = find_open(connection, tenant_id)
    if test is None:
        return None
    serving = models.champion(connection, tenant_id)
    if serving is None or serving.version != test.champion:
        told = f"version {serving.version if serving else None} serves meanwhile"
        return end(connection, tenant_id, test, "overtaken", told, ACTOR, now)
    seen = ab_outcomes.course(connection, tenant_id, test.test_id, now=now)
    if seen is not None:
        change(connection, tenant_id, test, result=seen.to_json(-1))
        if seen.decision == "better":
            return _promote(connection, tenant_id, test, seen.sentence, now)
        if seen.decision != "open":
            told = f"{_WORSE[seen.decision]}: {seen.sentence}"
            return end(connection, tenant_id, test, "dropped", told, ACTOR, now)
    if now >= test.ends_at:
        told = f"no difference has shown in time: {seen.sentence if seen else 'no outcomes'}"
        return end(connection, tenant_id, test, "undecided", told, ACTOR, now)
    return find(connection, tenant_id, test.test_id)


def judge_all(database: Database, *, now: datetime) -> int:
    """Judge the open tests of all active tenants as of now; how many have ended by it."""
    with database.operator() as connection:
        found = connection.scalars(_OPEN).all()
    ended = 0
    for tenant_id in found:
        with suppress(TenantNotFoundError):
            try:
                with database.tenant(tenant_id) as connection:
                    test = judge(connection, tenant_id, now=now)
                ended += test is not None and test.status != "open"
            except TenantNotFoundError:
                continue
            except Exception as error:
                # Whatever is wrong with one test, the others are judged all the same.
                with database.tenant(tenant_id) as connection:
                    alerts.raise_alert(connection, tenant_id, ALERT, "", in_one_line(error))
    return ended


def _promote(
    connection: Connection, tenant_id: str, test: ABTest, told: str, now: datetime
) -> ABTest:
    """Let the challenger serve, or ask the person who has to approve it."""
    told = f"the challenger is better: {told}"
    if _awaits_approval(connection, tenant_id, test.challenger):
        ended = end(connection, tenant_id, test, "awaiting_approval", told, ACTOR, now)
        deployment.ask_approval(connection, tenant_id, test.challenger, actor=ACTOR, why=told)
        return ended
    ended = end(connection, tenant_id, test, "promoted", told, ACTOR, now)
    why = f"test {test.test_id}: {told}"
    governance = training_settings.find(connection, tenant_id).governance
    deployment.deploy(connection, tenant_id, test.challenger, governance, actor=ACTOR, why=why)
    return ended


def _awaits_approval(connection: Connection, tenant_id: str, version: int) -> bool:
    """Whether a person has to approve this version before it serves: by the tenant's settings, or
    because its gate has refused it."""
    found = models.find(connection, tenant_id, version)
    if found.approved_at is not None or found.deployed_at is not None:
        return False
    return found.refused or training_settings.find(connection, tenant_id).governance.approval


_WORSE = {
    "worse": "the challenger is worse",
    "fewer_conversions": "the leads that the challenger served convert less",
}
_NEXT = text("SELECT coalesce(max(test_id), 0) + 1 FROM ml.ab_tests WHERE tenant_id = :tenant_id")
_OPEN = text(
    "SELECT a.tenant_id FROM ml.ab_tests a JOIN crm.tenants t USING (tenant_id)"
    " WHERE a.ended_at IS NULL AND t.status = 'active' ORDER BY 1"
)
