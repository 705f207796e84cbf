"""`galena keys`: the keys that tenants' stored values are sealed with, shown and renewed."""

import getpass
import os
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

keys_app = typer.Typer(
    help="The keys that seal what is stored of language models' answers.", no_args_is_help=True
)

_out = Console()

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, such as acme.")]


@keys_app.command("list")
def list_keys(tenant: TenantId) -> None:
    """The versions of a tenant's key, the newest first; no key is shown."""
    from orchestration.installation import migrated_installation
    from warehouse import tenant_keys

    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        versions = tenant_keys.versions(connection, tenant)
    if not versions:
        _say(f"Tenant {tenant} has no key yet: it is made when the first value is sealed.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("key", "made", "rotate by", "sealed answers", "wrapped by"):
        table.add_column(heading, justify="right", no_wrap=True)
    for place, one in enumerate(versions):
        table.add_row(
            str(one.key_id),
            f"{one.made_at:%Y-%m-%d}",
            f"{one.due_at:%Y-%m-%d}" if place == 0 else "rotated",
            f"{one.values:,}",
            one.master_id,
        )
    _out.print(table)


@keys_app.command("rotate")
def rotate(
    tenant: TenantId,
    reseal: Annotated[
        bool,
        typer.Option(
            "--reseal", help="Seal what is stored with the new key, and destroy the older ones."
        ),
    ] = False,
) -> None:
    """Seal with a new key from now on; older ones open what they sealed."""
    from orchestration.installation import migrated_installation
    from warehouse.llm_answers import StoredAnswers

    with migrated_installation() as found:
        keys = found.keys
        key_id = keys.rotate(tenant, actor=getpass.getuser())
        _say(f"Tenant {tenant} has a new key, {key_id}: other processes use it within a minute.")
        if reseal:
            resealed = StoredAnswers(found.database, keys).reseal(tenant)
            retired = keys.retire(tenant, actor=getpass.getuser())
            _say(f"{resealed:,} answers are sealed with it; {retired} older keys are destroyed.")


@keys_app.command("destroy")
def destroy(
    tenant: TenantId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Destroy a tenant's keys: what they sealed is gone, in backups too. A new one is made when
    the next value is sealed."""
    from orchestration.installation import migrated_installation
    from warehouse import audit, tenant_keys

    if not yes:
        typer.confirm(f"Destroy the keys of tenant {tenant} with all they sealed?", abort=True)
    with migrated_installation() as found, found.database.tenant(tenant) as connection:
        gone = tenant_keys.destroy(connection, tenant)
        audit.note(connection, tenant, "keys.destroy", {"versions": gone}, actor=getpass.getuser())
    _say(f"{gone} keys of {tenant} are destroyed, and what they sealed is deleted.")


@keys_app.command("rotate-master")
def rotate_master() -> None:
    """Wrap all tenants' keys by a new master key: the one in the environment, with the former in
    GALENA_MASTER_KEY_OLD, or a new one in GALENA_HOME where the environment names none."""
    from orchestration.installation import migrated_installation
    from warehouse import master_key, tenants

    with migrated_installation() as found:
        renewed = master_key.renew(os.environ)
        rewrapped = 0
        # The former key goes after a pass that found nothing wrapped by it: others may add keys.
        while True:
            there = [one for one in tenants.find_all(found.database) if one.status != "removing"]
            passed = sum(found.keys.rewrap(one.tenant_id, actor=getpass.getuser()) for one in there)
            if not passed:
                break
            rewrapped += passed
        master_key.forget_old(os.environ)
    _say(
        f"{rewrapped:,} keys of {len(there):,} tenants are wrapped by the master key"
        f" {renewed.current.key_id}; the former one opens nothing any more, but for backups."
    )


def _say(line: str) -> None:
    _out.print(line, markup=False, highlight=False, soft_wrap=True)
