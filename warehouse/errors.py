"""What can go wrong that a person can mend: each error says what, and the way out."""


class GalenaError(Exception):
    """An error whose message is one sentence and a way out; the command prints it as it is."""


class TenantNotFoundError(GalenaError):
    def __init__(self, tenant_id: str) -> None:
        super().__init__(
            f"There is no tenant {tenant_id!r}; `galena tenant list` shows the tenants."
        )


def in_one_line(error: BaseException) -> str:
    """A GalenaError as it is; of any other the kind and the first line, of a database's without the
    statement and its parameters."""
    if isinstance(error, GalenaError):
        return str(error)
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0]}"
