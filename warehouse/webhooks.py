"""Webhooks: where a tenant's events are sent, signed as the Standard Webhooks say.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from warehouse import alerts, audit, events
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.events import Event
from warehouse.schema import webhooks
from warehouse.webhook_delivery import DeliveryError, check_url, post

ALERT = "webhook failing"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PREFIX = "whsec_"
# The specification asks for 24 to 64 bytes.
_SECRET_BYTES, _FEWEST_BYTES, _MOST_BYTES = 32, 24, 64
# As the specification recommends: ten attempts over three days.
_WAITS = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
# A receiver that restarts fails once or twice; then somebody is told.
_TOLERATED = 3
_AT_A_TIME = 50


@dataclass(frozen=True)
class Webhook:
    """url: where events are sent. secret_variable: the environment variable with the secret."""

    url: str
    secret_variable: str


def new_secret() -> str:
    """A secret made by chance, as receivers' libraries take it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def configure(
    connection: Connection, tenant_id: str, url: str, secret_variable: str, *, actor: str
) -> None:
    """Have the tenant's events from now on sent there, in place of where they were sent before.

    Raises GalenaError for a URL that nothing may be sent to, and a name that is none.
    """
    check_url(url)
    if not _VARIABLE.fullmatch(secret_variable):
        # Not shown: it may be the secret itself.
        raise GalenaError(
            "--secret-variable is no name of an environment variable; expected one such as"
            " ACME_WEBHOOK_SECRET, which holds the secret where Galena runs."
        )
    values = {"url": url, "secret_variable": secret_variable, "set_at": datetime.now(UTC)}
    connection.execute(
        insert(webhooks)
        .values(tenant_id=tenant_id, **values)
        .on_conflict_do_update(index_elements=["tenant_id"], set_=values)
    )
    audit.note(connection, tenant_id, "webhook.set", {}, actor=actor)


def remove(connection: Connection, tenant_id: str, *, actor: str) -> bool:
    """Send nothing any more, also of what waits; False when there was no webhook."""
    gone = connection.execute(webhooks.delete().where(webhooks.c.tenant_id == tenant_id)).rowcount
    if gone:
        events.drop_due(connection, tenant_id)
        alerts.resolve(connection, tenant_id, ALERT, [""])
        audit.note(connection, tenant_id, "webhook.remove", {}, actor=actor)
    return bool(gone)


def find(connection: Connection, tenant_id: str) -> Webhook | None:
    """The tenant's webhook; None when it has none."""
    row = connection.execute(
        select(webhooks.c.url, webhooks.c.secret_variable).where(webhooks.c.tenant_id == tenant_id)
    ).one_or_none()
    return None if row is None else Webhook(*row)


def secret_of(variable: str) -> bytes:
    """The key in the environment variable. Raises GalenaError, which never shows what it holds."""
    text = os.environ.get(variable, "")
    if not text:
        raise GalenaError(
            f"The environment variable {variable} is to hold the webhook's secret and is not set"
            " where `galena up` runs: set it and start again."
        )
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not _FEWEST_BYTES <= len(key) <= _MOST_BYTES:
        raise GalenaError(
            f"The environment variable {variable} holds no webhook's secret; expected {_PREFIX} and"
            f" {_FEWEST_BYTES} to {_MOST_BYTES} bytes in base64, as `galena tenant webhook` prints."
        )
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """What stands in webhook-signature: v1 and the HMAC-SHA256 of id, time and body."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def deliver_due(
    database: Database, tenant_id: str, *, now: Callable[[], datetime], until: datetime
) -> int:
    """Send the tenant's webhook the events that are due, until one fails; return how many it took.

    now: the clock, for each attempt is signed and noted at its own time: a receiver refuses what
    was signed minutes ago. until: none is begun after it, however many wait. No transaction is open
    meanwhile: what was taken and could not be noted is sent again.
    """
    with database.tenant(tenant_id) as connection:
        webhook = find(connection, tenant_id)
        waiting = events.due(connection, tenant_id, now=now(), limit=_AT_A_TIME)
    taken = 0
    for event in waiting:
        begun = now()
        if begun > until:
            break
        try:
            if webhook is None:
                raise DeliveryError("the tenant has no webhook any more", final=True)
            _send(webhook, event, begun)
        except (GalenaError, DeliveryError) as error:
            _failed(database, tenant_id, event, error, now())
            return taken
        with database.tenant(tenant_id) as connection:
            events.delivered(connection, tenant_id, event.event_id, now=now())
            alerts.resolve(connection, tenant_id, ALERT, [""])
        taken += 1
    return taken


def _send(webhook: Webhook, event: Event, now: datetime) -> None:
    key = secret_of(webhook.secret_variable)
    body = json.dumps(
        {"type": event.kind, "timestamp": event.at.isoformat(), "data": event.payload},
        separators=(",", ":"),
        sort_keys=True,
    ).encode()
    timestamp = int(now.timestamp())
    headers = {
        "content-type": "application/json",
        "user-agent": "galena",
        "webhook-id": event.message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(key, event.message_id, timestamp, body),
    }
    post(webhook.url, headers, body)


def _failed(
    database: Database, tenant_id: str, event: Event, error: Exception, now: datetime
) -> None:
    final = event.attempts >= len(_WAITS) or getattr(error, "final", False)
    due_at = None if final else now + _WAITS[event.attempts]
    with database.tenant(tenant_id) as connection:
        events.failed(connection, tenant_id, event.event_id, str(error), due_at=due_at)
        if final or event.attempts + 1 >= _TOLERATED or isinstance(error, GalenaError):
            alerts.raise_alert(connection, tenant_id, ALERT, "", f"An event waits: {error}")
