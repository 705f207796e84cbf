"""Events reach a real receiver, signed; what it does not take waits; nothing else is reached."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest

from resources.warehouse import Warehouse
from sensors.webhook_deliveries import webhook_deliveries
from warehouse import alerts, events, tenants, webhook_delivery, webhooks
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.events import Event

ACME, BRIO = "acme", "brio"
VARIABLE = "ACME_WEBHOOK_SECRET"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass
class Receiver:
    """A web server: what it answers, and what it was sent."""

    status: int = 200
    location: str = ""
    port: int = 0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/in?key=hidden"

    @contextmanager
    def listening(self, port: int = 0) -> Iterator[None]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                named = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append((named, body))
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("location", receiver.location)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        self.port = server.server_port
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    with found.listening():
        yield found


@pytest.fixture
def acme(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv(VARIABLE, SECRET)
    for tenant_id in (ACME, BRIO):
        tenants.add(database, tenant_id)
    return database


def _configure(database: Database, url: str, tenant_id: str = ACME) -> None:
    with database.tenant(tenant_id) as connection:
        webhooks.configure(connection, tenant_id, url, VARIABLE, actor="ann")


def _record(database: Database, number: int = 1, tenant_id: str = ACME) -> None:
    with database.tenant(tenant_id) as connection:
        payload = {"job_id": f"job {number}", "name": "Żółw"}
        events.record(connection, tenant_id, "prediction.completed", payload)


def _deliver(database: Database, after: timedelta = timedelta(seconds=1)) -> int:
    return webhooks.deliver_due(database, ACME, now=datetime.now(UTC) + after)


def _events(database: Database) -> list[Event]:
    with database.tenant(ACME) as connection:
        return events.find_all(connection, ACME)


def _alerts(database: Database) -> list[str]:
    with database.tenant(ACME) as connection:
        return [alert.message for alert in alerts.open_alerts(connection, ACME)]


def test_an_event_is_sent_signed_and_once(acme: Database, receiver: Receiver) -> None:
    _record(acme, 0)
    _configure(acme, receiver.url)
    _record(acme, 1)
    assert _deliver(acme) == 1
    assert _deliver(acme) == 0
    ((headers, body),) = receiver.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert abs(int(headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60
    document = json.loads(body)
    assert document["type"] == "prediction.completed"
    assert document["data"] == {"job_id": "job 1", "name": "Żółw"}
    before, sent = _events(acme)
    assert before.delivered_at is None, "it happened before there was a webhook"
    assert sent.message_id == headers["webhook-id"]
    assert sent.delivered_at is not None
    assert (sent.attempts, sent.due_at, sent.error) == (1, None, None)


def test_the_signature_is_that_of_the_specifications_example() -> None:
    """The example of the reference implementations' tests."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert webhooks.signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [(500, "127.0.0.1 answered 500"), (302, "answered 302; redirects are not followed")],
)
def test_what_is_not_taken_waits_and_is_sent_again(
    acme: Database, receiver: Receiver, status: int, words: str
) -> None:
    receiver.status, receiver.location = status, receiver.url
    _configure(acme, receiver.url)
    _record(acme, 1)
    _record(acme, 2)
    assert _deliver(acme) == 0
    first, second = _events(acme)
    assert len(receiver.got) == 1, "neither the next event nor the redirect"
    assert words in str(first.error)
    assert "hidden" not in str(first.error)
    assert first.due_at is not None
    assert first.due_at > datetime.now(UTC) + timedelta(seconds=4)
    assert second.attempts == 0
    receiver.status = 204
    assert _deliver(acme, timedelta(minutes=1)) == 2
    ids = [headers["webhook-id"] for headers, _body in receiver.got]
    assert ids == [first.message_id, first.message_id, second.message_id]


def test_a_receiver_that_is_down_gets_the_event_when_it_is_up(acme: Database) -> None:
    receiver = Receiver()
    with receiver.listening():
        pass
    _configure(acme, receiver.url)
    _record(acme)
    for minutes in (1, 10, 60):
        assert _deliver(acme, timedelta(minutes=minutes)) == 0
    (alert,) = _alerts(acme)
    assert alert == "An event waits: 127.0.0.1 could not be reached: Connection refused"
    with receiver.listening(receiver.port):
        assert _deliver(acme, timedelta(hours=4)) == 1
    assert _alerts(acme) == []


def test_attempts_end_after_three_days_and_where_the_receiver_is_gone(
    acme: Database, receiver: Receiver
) -> None:
    _configure(acme, receiver.url)
    receiver.status = 503
    _record(acme)
    days = 0
    while _events(acme)[0].due_at is not None:
        days += 1
        _deliver(acme, timedelta(days=days))
    assert _events(acme)[0].attempts == 10
    receiver.status = 410
    _record(acme)
    _deliver(acme)
    assert (_events(acme)[1].attempts, _events(acme)[1].due_at) == (1, None)


def test_a_receiver_that_drips_does_not_hold_up_the_others(
    acme: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(webhook_delivery, "_SECONDS", 0.3)
    ended = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            while not ended.wait(0.05):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip)
        thread.start()
        _configure(acme, f"http://127.0.0.1:{listener.getsockname()[1]}/")
        _record(acme)
        assert _deliver(acme) == 0
        ended.set()
        thread.join()
    assert "could not be reached" in str(_events(acme)[0].error)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("example.com/in", "expected one such as https"),
        ("ftp://example.com/in", "expected one such as https"),
        ("file:///etc/passwd", "expected one such as https"),
        ("http://example.com/in", "expected https"),
        ("https://ann:secret@example.com/", "has a login"),
        ("https://10.0.0.1/", "private address"),
        ("https://169.254.169.254/latest/meta-data", "private address"),
        ("https://[::ffff:192.168.0.1]/", "private address"),
        ("https://[64:ff9b::a00:1]/", "private address"),
        ("https://[fe80::1]/", "private address"),
        ("https://0.0.0.0/", "private address"),
    ],
)
def test_where_nothing_may_be_sent(acme: Database, url: str, words: str) -> None:
    with pytest.raises(GalenaError, match=words) as raised:
        _configure(acme, url)
    assert "secret" not in str(raised.value)


def test_a_name_that_leads_inside_is_not_followed(
    acme: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is public when the webhook is set, and leads to this machine later."""
    import socket

    resolve = socket.getaddrinfo

    def rebound(host: str, port: int, **options: int) -> object:
        return resolve("127.0.0.1" if host == "rebound.example" else host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    _configure(acme, f"https://rebound.example:{receiver.port}/")
    _record(acme)
    assert _deliver(acme) == 0
    assert "private address" in str(_events(acme)[0].error)
    assert receiver.got == []


@pytest.mark.parametrize("held", [None, "short", "whsec_c2hvcnQ="])
def test_a_secret_that_is_missing_or_wrong_is_named_and_not_shown(
    acme: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, held: str | None
) -> None:
    monkeypatch.delenv(VARIABLE)
    if held is not None:
        monkeypatch.setenv(VARIABLE, held)
    _configure(acme, receiver.url)
    _record(acme)
    assert _deliver(acme) == 0
    assert receiver.got == []
    (alert,) = _alerts(acme)
    assert VARIABLE in alert
    assert held is None or held not in alert


def test_the_variable_is_a_name_and_not_the_secret(acme: Database) -> None:
    with (
        pytest.raises(GalenaError, match="no name of an environment variable") as raised,
        acme.tenant(ACME) as connection,
    ):
        webhooks.configure(connection, ACME, "https://example.com/in", SECRET, actor="ann")
    assert SECRET not in str(raised.value)


def test_a_webhook_that_is_removed_gets_nothing_more(acme: Database, receiver: Receiver) -> None:
    _configure(acme, receiver.url)
    _record(acme)
    with acme.tenant(ACME) as connection:
        assert webhooks.remove(connection, ACME, actor="ann")
        assert not webhooks.remove(connection, ACME, actor="ann")
    assert _deliver(acme) == 0
    assert receiver.got == []
    assert [event.due_at for event in _events(acme)] == [None]


def test_the_sensor_sends_to_each_tenant_its_own(acme: Database, receiver: Receiver) -> None:
    other = Receiver(status=500)
    with other.listening():
        _configure(acme, other.url)
        _configure(acme, receiver.url, BRIO)
        _record(acme, 1)
        _record(acme, 2, BRIO)
        resources = {"warehouse": Warehouse(database_url=acme.url)}
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance=instance, resources=resources) as context,
        ):
            result = webhook_deliveries(context)
        assert isinstance(result, dg.SkipReason)
        assert result.skip_message == "Events of 2 tenants were due; 1 were taken."
    assert [json.loads(body)["data"]["job_id"] for _headers, body in receiver.got] == ["job 2"]
    assert [json.loads(body)["data"]["job_id"] for _headers, body in other.got] == ["job 1"]


def test_a_new_secret_is_one_that_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = webhooks.new_secret()
    monkeypatch.setenv(VARIABLE, secret)
    assert len(webhooks.secret_of(VARIABLE)) == 32
    assert secret != webhooks.new_secret()
