"""Events reach a real receiver, signed; what it does not take waits; nothing else is reached."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import text

from resources.warehouse import Warehouse
from sensors.webhook_deliveries import webhook_deliveries
from warehouse import alerts, events, tenants, webhook_delivery, webhooks
from warehouse.database import Database
from warehouse.errors import GalenaError
from warehouse.events import Event

ACME, BRIO = "acme", "brio"
VARIABLE = "ACME_WEBHOOK_SECRET"
ONE_OF_TWO = dg.SkipReason("Events of 2 tenants were due; 1 were taken.")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass
class Receiver:
    """A web server: what it answers after so many seconds, and what it was sent."""

    status: int = 200
    seconds: float = 0.0
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
                time.sleep(receiver.seconds)
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
    return webhooks.deliver_due(
        database,
        ACME,
        now=lambda: datetime.now(UTC) + after,
        until=datetime.max.replace(tzinfo=UTC),
    )


def _look(database: Database, cursor: str | None = None) -> dg.SensorResult:
    """One look of the sensor."""
    resources = {"warehouse": Warehouse(database_url=database.url)}
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance=instance, resources=resources, cursor=cursor) as context,
    ):
        result = webhook_deliveries(context)
    assert isinstance(result, dg.SensorResult)
    return result


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
        ("https://a..b/x", "expected one such as https"),
        ("https://.example.com/", "expected one such as https"),
        (f"https://{'a' * 64}.example/", "expected one such as https"),
        ("https://a\x01b.example/", "expected one such as https"),
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
        assert _look(acme).skip_reason == ONE_OF_TWO
    assert [json.loads(body)["data"]["job_id"] for _headers, body in receiver.got] == ["job 2"]
    assert [json.loads(body)["data"]["job_id"] for _headers, body in other.got] == ["job 1"]


def test_a_host_that_no_resolver_takes_stops_no_other_tenant(
    acme: Database, receiver: Receiver
) -> None:
    """Set before such a name was refused."""
    _configure(acme, "https://example.com/x")
    _configure(acme, receiver.url, BRIO)
    with acme.tenant(ACME) as connection:
        connection.execute(text("UPDATE ml.webhooks SET url = 'https://a..b/x'"))
    _record(acme, 1)
    _record(acme, 2, BRIO)
    assert _look(acme).skip_reason == ONE_OF_TWO
    (event,) = _events(acme)
    assert event.attempts == 1
    assert len(_alerts(acme)) == len(receiver.got) == 1


def test_what_the_resolver_refuses_is_an_attempt(
    acme: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def refuse(*_arguments: object, **_options: object) -> None:
        "a..b".encode("idna")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    _configure(acme, "https://example.com/x")
    _record(acme)
    assert _deliver(acme) == 0
    assert _events(acme)[0].attempts == 1


def test_whatever_goes_wrong_with_one_tenant_stops_no_other(
    acme: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def post(url: str, headers: dict[str, str], body: bytes) -> None:
        if "hidden" not in url:
            raise RuntimeError("nobody thought of this")
        webhook_delivery.post(url, headers, body)

    monkeypatch.setattr(webhooks, "post", post)
    _configure(acme, "https://example.com/x")
    _configure(acme, receiver.url, BRIO)
    _record(acme, 1)
    _record(acme, 2, BRIO)
    assert _look(acme).skip_reason == ONE_OF_TWO
    assert _alerts(acme) == ["No event is sent: RuntimeError: nobody thought of this"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(6, [(1, 1), (2, 2), (3, 3), (3, 3)]), (31, [(1, 0), (1, 1), (2, 1), (2, 2)])],
)
def test_slow_receivers_take_turns(
    acme: Database,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    expected: list[tuple[int, int]],
) -> None:
    """A clock by which each event takes so long: more than a tenant's share of a look, or all."""
    start, other = datetime.now(UTC) + timedelta(seconds=1), Receiver()

    def now() -> datetime:
        return start + timedelta(seconds=seconds * (len(receiver.got) + len(other.got)))

    monkeypatch.setattr("sensors.webhook_deliveries._now", now)
    with other.listening():
        _configure(acme, receiver.url)
        _configure(acme, other.url, BRIO)
        for number in range(3):
            _record(acme, number)
            _record(acme, number, BRIO)
        turns, cursor = [], None
        for _ in range(4):
            cursor = _look(acme, cursor).cursor
            turns.append((len(receiver.got), len(other.got)))
    assert turns == expected


def test_each_event_is_signed_at_its_own_time_and_none_is_begun_too_late(
    acme: Database, receiver: Receiver
) -> None:
    """A clock by which each event takes a minute."""
    start = datetime.now(UTC) + timedelta(seconds=1)
    _configure(acme, receiver.url)
    for number in range(4):
        _record(acme, number)
    taken = webhooks.deliver_due(
        acme,
        ACME,
        now=lambda: start + timedelta(minutes=len(receiver.got)),
        until=start + timedelta(minutes=2),
    )
    assert taken == 3
    times = [int(headers["webhook-timestamp"]) for headers, _body in receiver.got]
    assert times == [int(start.timestamp()) + 60 * minutes for minutes in range(3)]
    assert [event.attempts for event in _events(acme)] == [1, 1, 1, 0]


def test_addresses_that_answer_nothing_have_one_budget_together(
    acme: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener whose queue is full lets whoever connects wait."""
    import socket

    resolve, connect = socket.getaddrinfo, socket.create_connection
    waited: list[float] = []

    def many(host: str, *arguments: Any, **options: Any) -> list[Any]:
        return resolve("127.0.0.1", *arguments, **options) * (30 if host == "localhost" else 1)

    def patient(address: tuple[str, int], timeout: float) -> socket.socket:
        waited.append(timeout)
        return connect(address, timeout=timeout)

    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        connect(listener.getsockname()),
    ):
        monkeypatch.setattr(webhook_delivery, "_SECONDS", 0.3)
        monkeypatch.setattr(socket, "getaddrinfo", many)
        monkeypatch.setattr(socket, "create_connection", patient)
        _configure(acme, f"http://localhost:{listener.getsockname()[1]}/")
        _record(acme)
        assert _deliver(acme) == 0
    assert "localhost could not be reached" in str(_events(acme)[0].error)
    assert len(waited) == 3
    assert sum(waited) <= 0.3


def test_an_answer_has_what_the_connection_left_of_the_budget(
    acme: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the share that its address had among three."""
    import socket

    resolve = socket.getaddrinfo

    def three(_host: str, *arguments: Any, **options: Any) -> list[Any]:
        return resolve("127.0.0.1", *arguments, **options) * 3

    monkeypatch.setattr(webhook_delivery, "_SECONDS", 3.0)
    monkeypatch.setattr(socket, "getaddrinfo", three)
    receiver.seconds = 1.2
    _configure(acme, f"http://localhost:{receiver.port}/")
    _record(acme)
    assert _deliver(acme) == 1


def test_a_new_secret_is_one_that_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = webhooks.new_secret()
    monkeypatch.setenv(VARIABLE, secret)
    assert len(webhooks.secret_of(VARIABLE)) == 32
    assert secret != webhooks.new_secret()
