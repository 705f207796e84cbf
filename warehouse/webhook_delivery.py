"""One POST to a webhook: to no address that a stranger must not reach from here."""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from warehouse.errors import GalenaError

# For all of it, from the look-up of the name to the end of the answer's headers: a receiver that
# drips, or has many addresses that answer nothing, would hold up every other tenant's.
_SECONDS = 10.0
_MOST_ADDRESSES = 3
_GONE = 410
# Whose addresses stand for IPv4 addresses behind a gateway, private ones too (RFC 6052, 3056).
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16"))


class DeliveryError(Exception):
    """Why the receiver has not taken it, in words without the URL's path, which may hold a secret.

    final: whether no other attempt is of use.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def check_url(url: str) -> None:
    """Raise GalenaError unless the URL is one that events may be sent to."""
    _parts(url)


def post(url: str, headers: Mapping[str, str], body: bytes) -> None:
    """POST the body. Returns when the receiver answers 2xx; raises DeliveryError otherwise.

    The name is looked up once, its addresses are judged, and the connection is made to the one that
    was judged: a name whose address changes in between gains nothing. Redirects are not followed,
    and no proxy is asked.
    """
    parts = _parts(url)
    host, port = str(parts.hostname), parts.port or _port(parts)
    deadline = time.monotonic() + _SECONDS
    try:
        with _connected(_addresses(host, port), port, deadline) as plain:
            status = _answer(parts, host, plain, headers, body, deadline)
    # ValueError: of a name that is none to the resolver, or to TLS.
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise DeliveryError(f"{host} could not be reached: {reason}") from None
    if not 200 <= status < 300:
        words = "; redirects are not followed" if 300 <= status < 400 else ""
        raise DeliveryError(f"{host} answered {status}{words}", final=status == _GONE)


def _answer(
    parts: SplitResult,
    host: str,
    plain: socket.socket,
    headers: Mapping[str, str],
    body: bytes,
    deadline: float,
) -> int:
    left = _left(deadline)
    plain.settimeout(left)
    # TLS takes the socket over; this is the same connection by another handle.
    handle = plain.dup()

    def give_up() -> None:
        with suppress(OSError):
            handle.shutdown(socket.SHUT_RDWR)

    patience = threading.Timer(left, give_up)
    patience.daemon = True
    patience.start()
    connection = http.client.HTTPConnection(host, parts.port or _port(parts))
    try:
        connection.sock = plain
        if parts.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, dict(headers))
        return connection.getresponse().status
    finally:
        patience.cancel()
        connection.close()
        handle.close()


def _connected(addresses: Sequence[str], port: int, deadline: float) -> socket.socket:
    """A connection to the first of three that takes one; each has its share of what is left."""
    *others, last = addresses[:_MOST_ADDRESSES]
    for position, address in enumerate(others):
        share = _left(deadline) / (len(others) + 1 - position)
        with suppress(OSError):
            return socket.create_connection((address, port), timeout=share)
    return socket.create_connection((last, port), timeout=_left(deadline))


def _left(deadline: float) -> float:
    """Seconds until then. Raises TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        # As the resolver does, to which an empty label, or one of 64 letters, is none.
        (host or "").encode("idna")
    except ValueError:
        host, parts = None, urlsplit("")
    readable = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not host or not readable:
        raise GalenaError("The webhook's URL is none; expected one such as https://example.com/in.")
    if parts.username is not None or parts.fragment:
        raise GalenaError(
            f"The webhook's URL of {host} has a login or a fragment; expected one without: events"
            " are signed, and that is how the receiver knows who sends them."
        )
    if parts.scheme == "http" and not _is_here(host):
        raise GalenaError(
            f"The webhook's URL of {host} is http; expected https: events would be read on the way."
        )
    with suppress(ValueError):
        if not _is_here(host):
            _judge(host, ipaddress.ip_address(host))
    return parts


def _port(parts: SplitResult) -> int:
    return 443 if parts.scheme == "https" else 80


def _is_here(host: str) -> bool:
    """Whether the URL itself says that it means this machine."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _addresses(host: str, port: int) -> list[str]:
    """The host's addresses. Raises DeliveryError when one of them is not to be reached.

    Only a URL that names this machine itself reaches it: a name that somebody else can point to
    127.0.0.1 does not.
    """
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in found:
        address = ipaddress.ip_address(text)
        if _is_here(host) and address.is_loopback:
            continue
        try:
            _judge(host, address)
        except GalenaError as error:
            raise DeliveryError(str(error)) from None
    return found


def _judge(host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = getattr(address, "ipv4_mapped", None) or address
    public = mapped.is_global and not mapped.is_multicast
    if not public or any(mapped in network for network in _TRANSLATED):
        raise GalenaError(
            f"The webhook's host {host} is at a private address; expected a public one, or this"
            " machine by the name localhost: nothing within a network is to be reached through it."
        )
