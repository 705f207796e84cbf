"""The connections to providers: pools for each event loop, and one for threads."""

import asyncio
from collections.abc import AsyncIterator
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary, WeakSet

import httpx2

# The library's pool looks through all its connections at each request: at 500 calls at once that
# was a third of their time. So there are several, and another when so many calls fill the last.
_CALLS_OF_A_POOL = 64
_LIMITS = httpx2.Limits(
    max_connections=None, max_keepalive_connections=_CALLS_OF_A_POOL, keepalive_expiry=30
)


def clients(url: str, seconds: float) -> tuple[httpx2.Client, httpx2.AsyncClient]:
    """HTTP clients for a provider's URL, for threads and for event loops.

    seconds: that nothing may arrive before the request is given up. Connecting has no less: a
    process with 1,000 calls at once may take ten seconds to come round to its own connections, and
    that is no fault of the provider. Redirects are not followed:
    the prompt would go, and with Anthropic and Google the key, to a host that nobody configured.
    """
    proxy, timeout = _proxy(url), httpx2.Timeout(seconds)
    return (
        httpx2.Client(transport=_blocking(proxy), timeout=timeout, follow_redirects=False),
        httpx2.AsyncClient(transport=_looping(proxy), timeout=timeout, follow_redirects=False),
    )


class _Blocking(httpx2.BaseTransport):
    """A pool for threads. Shared by all clients, it stays open when one of them is closed."""

    def __init__(self, proxy: str | None) -> None:
        self._pool = httpx2.HTTPTransport(verify=_tls(), limits=_LIMITS, proxy=proxy)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._pool.handle_request(request)


class _Looping(httpx2.AsyncBaseTransport):
    """Pools for each event loop: a connection kept from a loop that has ended would fail the next
    call, as it does to whoever calls asyncio.run twice with one client."""

    def __init__(self, proxy: str | None) -> None:
        self._proxy = proxy
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, list[_Pool]]
        self._pools = WeakKeyDictionary()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        pools = self._pools.setdefault(asyncio.get_running_loop(), [])
        pool = next((pool for pool in pools if len(pool.calls) < _CALLS_OF_A_POOL), None)
        if pool is None:
            pool = _Pool(self._proxy)
            pools.append(pool)
        return await pool.ask(request)


class _Pool:
    """calls: those under way. One that is dropped unfinished, as a broken stream may be, is no
    longer among them once it is collected."""

    def __init__(self, proxy: str | None) -> None:
        self._transport = httpx2.AsyncHTTPTransport(verify=_tls(), limits=_LIMITS, proxy=proxy)
        self.calls: WeakSet[_Received] = WeakSet()

    async def ask(self, request: httpx2.Request) -> httpx2.Response:
        received = _Received(self.calls)
        self.calls.add(received)
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException:
            self.calls.discard(received)
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        received.stream, response.stream = response.stream, received
        return response


class _Received(httpx2.AsyncByteStream):
    """A response's body; the call is over when it is closed."""

    def __init__(self, calls: "WeakSet[_Received]") -> None:
        self._calls = calls
        self.stream: httpx2.AsyncByteStream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self.stream:
            yield part

    async def aclose(self) -> None:
        self._calls.discard(self)
        await self.stream.aclose()


_tls = cache(httpx2.create_ssl_context)
_blocking = cache(_Blocking)
_looping = cache(_Looping)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for the URL."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
