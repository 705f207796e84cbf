"""`galena fake-provider`: a server in place of the providers of language models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from warehouse.errors import GalenaError

if TYPE_CHECKING:
    from ai.fake_provider.script import Fault, Script

_FAULT_HELP = (
    "What goes wrong, as KIND or KIND:SHARE, such as 429:0.1; may be repeated. KIND is 429, quota,"
    " 500, 503, 529, 400, 401, hang, broken, cut, stream_error, malformed, wrong_schema, not_json,"
    " filtered or length."
)


def fake_provider(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="On loopback; 0: any.")] = 8089,
    fault: Annotated[list[str] | None, typer.Option(help=_FAULT_HELP, show_default=False)] = None,
    retry_after: Annotated[
        float | None, typer.Option(min=0, help="Seconds that a 429, 503 or 529 asks to wait.")
    ] = None,
    latency: Annotated[float, typer.Option(min=0, help="Seconds to the first byte.")] = 0,
    spread: Annotated[
        float, typer.Option(min=0, help="Seconds by which the latency differs, at most.")
    ] = 0,
    obedient: Annotated[
        bool, typer.Option("--obedient", help="Do what instructions hidden in a prompt say.")
    ] = False,
    script: Annotated[
        Path | None,
        typer.Option(help="YAML file with all settings; the options above are put on top of it."),
    ] = None,
) -> None:
    """Answer as OpenAI, Anthropic and Google do, without a model, and fail as told, until Ctrl-C.

    It says again what it is asked, and fills the schema where one is asked for. POST /admin/faults
    changes the faults while it runs; GET /admin/requests shows what was received.
    """
    from datetime import UTC, datetime

    from ai.fake_provider.running import listen, server

    settings: dict[str, Any] = {}
    if latency:
        settings["latency"] = latency
    if spread:
        settings["spread"] = spread
    if obedient:
        settings["answers"] = "obedient"
    if fault:
        settings["faults"] = [_fault(one, retry_after) for one in fault]
    told = _script(script, settings)
    try:
        taken = listen(port)
    except OSError as error:
        raise GalenaError(
            f"Port {port} cannot be taken ({error.strerror}): choose another with --port, or 0 for"
            " any that is free."
        ) from None
    with taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        typer.echo(f"The fake provider answers at {url} until Ctrl-C. As base_url of a candidate:")
        typer.echo(f"  openai and compatible: {url}/v1   anthropic and google: {url}")
        try:
            server(told, lambda: datetime.now(UTC)).run(sockets=[taken])
        except KeyboardInterrupt:
            typer.echo("Stopped.")


def _fault(text: str, retry_after: float | None) -> "Fault":
    from pydantic import ValidationError

    from ai.fake_provider.script import KINDS, Fault

    kind, _, share = text.partition(":")
    try:
        return Fault.model_validate({"kind": kind, "share": share or 1, "retry_after": retry_after})
    except ValidationError:
        raise GalenaError(
            f"--fault {text!r} is no fault; expected KIND or KIND:SHARE with a share above 0 and"
            f" at most 1, and one of the kinds {', '.join(KINDS)}."
        ) from None


def _script(file: Path | None, settings: dict[str, Any]) -> "Script":
    import yaml
    from pydantic import ValidationError

    from ai.fake_provider.script import Script

    try:
        read = (yaml.safe_load(file.read_text()) if file else None) or {}
        return Script.model_validate({**read, **settings})
    except yaml.YAMLError as error:
        raise GalenaError(f"{file} is no YAML: {error}.") from None
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        place = ".".join(map(str, first["loc"])) if first else "the file"
        raise GalenaError(
            f"{file or 'The options'}: {place}: {first['msg'] if first else 'expected settings'}."
        ) from None
