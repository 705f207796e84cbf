"""The master key, which wraps the tenants' keys: where it comes from, and how it is renewed."""

import base64
import binascii
import hmac
import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from warehouse.sealing import KEY_BYTES
from warehouse.settings import APP, SettingsError, home_of

KEY = "GALENA_MASTER_KEY"
FILE = "GALENA_MASTER_KEY_FILE"
OLD = "GALENA_MASTER_KEY_OLD"
PRODUCTION = "GALENA_PRODUCTION"


class MasterKeyError(SettingsError):
    """There is no master key, or not the one that is needed; no message shows a key."""


class MasterKey:
    """cipher: wraps and unwraps. key_id: 16 hex digits that tell keys apart and tell nothing of
    them."""

    def __init__(self, key: bytes) -> None:
        self.cipher = AESGCM(key)
        self.key_id = hmac.digest(key, b"galena: id of a master key", "sha256").hex()[:16]

    def __repr__(self) -> str:
        return f"MasterKey({self.key_id})"


@dataclass(frozen=True)
class MasterKeys:
    """current: wraps. old: opens what is not wrapped anew yet."""

    current: MasterKey
    old: MasterKey | None = None

    def of(self, key_id: str) -> MasterKey:
        """The key of this id. Raises MasterKeyError: it is neither of the two."""
        for key in (self.current, self.old):
            if key and key.key_id == key_id:
                return key
        raise MasterKeyError(
            f"The tenants' keys are wrapped by the master key {key_id}, and the one that is set is"
            f" {self.current.key_id}: set that one again, or name it in {OLD} and run"
            " `galena keys rotate-master`."
        )


def read(environment: Mapping[str, str]) -> MasterKeys:
    """The master key, and the old one where GALENA_MASTER_KEY_OLD names or a renewal left one.

    GALENA_MASTER_KEY: 32 bytes in base64. GALENA_MASTER_KEY_FILE: a file that holds them. With
    neither the file master.key in GALENA_HOME serves, which is made when it is first needed; not
    so with GALENA_PRODUCTION=1, for it lies beside what it protects.

    Raises MasterKeyError: there is none, and none may be made; or what is set is no key.
    """
    own = _own_file(environment)
    former = own.with_suffix(".key.old")
    current = _named(environment)
    if current is None:
        if environment.get(PRODUCTION) == "1":
            raise _missing(f"{PRODUCTION} is 1")
        if not own.exists():
            if environment.get(APP):
                raise _missing(f"{APP} names a server of your own")
            _write_new(own)
        current = _decoded(own.read_text(), str(own))
        old = _decoded(former.read_text(), str(former)) if former.exists() else None
    else:
        old = _decoded(environment[OLD], OLD) if environment.get(OLD) else None
    return MasterKeys(current, old)


def renew(environment: Mapping[str, str]) -> MasterKeys:
    """Put a new key in place of the one in GALENA_HOME, or, where the variables name one, take it
    for the new one. The former key is `old` of what is returned, until `forget_old`.

    Safe to repeat after a crash. Raises MasterKeyError: the variables name no old key.
    """
    found = read(environment)
    if _named(environment) is None:
        own = _own_file(environment)
        if found.old is None:
            own.with_suffix(".key.old").hardlink_to(own)
        if found.old is None or found.old.key_id == found.current.key_id:
            _write_new(own, replace=True)
        return read(environment)
    if found.old is None:
        raise MasterKeyError(
            f"{OLD} is not set: put the key that is in use into it and the new one, made with"
            f" `openssl rand -base64 32`, into {KEY} or {FILE}, and run the command again."
        )
    return found


def forget_old(environment: Mapping[str, str]) -> None:
    """Delete the former key of the file in GALENA_HOME, when nothing is wrapped by it any more."""
    _own_file(environment).with_suffix(".key.old").unlink(missing_ok=True)


def _named(environment: Mapping[str, str]) -> MasterKey | None:
    """The key that the variables name, if they do."""
    if environment.get(KEY) and environment.get(FILE):
        raise MasterKeyError(f"{KEY} and {FILE} are both set: keep one of them.")
    if environment.get(KEY):
        return _decoded(environment[KEY], KEY)
    if not environment.get(FILE):
        return None
    try:
        return _decoded(Path(environment[FILE]).read_text(), FILE)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise MasterKeyError(
            f"{FILE} names {environment[FILE]}, which cannot be read ({why}): name the file that"
            " holds the key."
        ) from None


def _decoded(text: str, source: str) -> MasterKey:
    try:
        key = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        # What came is not shown, for it may be a key.
        raise MasterKeyError(
            f"{source} holds no master key: expected {KEY_BYTES} bytes in base64, as"
            " `openssl rand -base64 32` prints them."
        )
    return MasterKey(key)


def _own_file(environment: Mapping[str, str]) -> Path:
    return home_of(environment) / "master.key"


def _missing(why: str) -> MasterKeyError:
    return MasterKeyError(
        f"There is no master key, and none is made where {why}: make one with `openssl rand -base64"
        f" 32`, keep it apart from the database and its backups, and set {KEY}, or {FILE} to a file"
        " that holds it."
    )


def _write_new(path: Path, *, replace: bool = False) -> None:
    """Write a key made by chance, for the file's owner alone. Without replace a file that is there
    stays: of several processes only one is the first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A link or a rename appears whole or not at all. Drafts are made with mode 0600.
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
            file.flush()
            os.fsync(file.fileno())
        if replace:
            Path(draft).replace(path)
        else:
            with suppress(FileExistsError):
                path.hardlink_to(draft)
    finally:
        Path(draft).unlink(missing_ok=True)
