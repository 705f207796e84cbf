"""What can go wrong that a person can mend: each error says what, and the way out."""


class GalenaError(Exception):
    """An error whose message is one sentence and a way out; the command prints it as it is."""


class TenantNotFoundError(GalenaError):
    def __init__(self, tenant_id: str) -> None:
        super().__init__(
            f"There is no tenant {tenant_id!r}; `galena tenant list` shows the tenants."
        )
