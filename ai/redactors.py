"""The redactor of each tenant, which knows its customers' names, kept while they stay the same."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from ai.guards.pii import Redactor
from ai.stores import Names

# Of 10,000 names each takes some 10 MB.
_MOST = 50


class Redactors:
    """For all tenants of a process; blocks while a tenant's names are read."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._kept: OrderedDict[str, tuple[Sequence[str], Redactor]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, tenant_id: str) -> Redactor:
        """The tenant's redactor."""
        names = self._names.of_customers(tenant_id)
        with self._lock:
            known, found = self._kept.get(tenant_id, (None, None))
        if found is None or known is not names:
            found = Redactor(names)
        with self._lock:
            self._kept[tenant_id] = names, found
            self._kept.move_to_end(tenant_id)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return found
