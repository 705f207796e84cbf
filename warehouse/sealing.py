"""Values sealed so that only their key opens them, and only in their place: AES-256-GCM.

A sealed value is: format (1 byte, 1), key id (4 bytes), nonce (12 bytes, random), ciphertext, tag
(16 bytes). What names its place is authenticated with it (associated data), so that a value that
was moved to another tenant, column or row does not open. NIST SP 800-38D, section 8.3, allows 2^32
values per key with random nonces of 96 bits; docs/decisions/encryption.md says how that is kept.
"""

import secrets
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from warehouse.errors import GalenaError

KEY_BYTES = 32
_FORMAT = 1
_HEADER = struct.Struct(">BI")
_NONCE_BYTES = 12


class SealedError(GalenaError):
    """A sealed value that does not open; the message names its place and nothing of it."""


@dataclass(frozen=True)
class Place:
    """Where a value belongs. column: such as ml.llm_answers.sealed. row: the rest of its key."""

    tenant_id: str
    column: str
    row: bytes = b""


def seal(cipher: AESGCM, key_id: int, plain: bytes, place: Place) -> bytes:
    """The value as it may be stored. key_id: names the cipher's key, 0 to 2^32 - 1."""
    header = _HEADER.pack(_FORMAT, key_id)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return header + nonce + cipher.encrypt(nonce, plain, _bound(header, place))


def key_id_of(sealed: bytes, place: Place) -> int:
    """The id of the key that sealed the value. Raises SealedError: it is no sealed value."""
    if len(sealed) > _HEADER.size:
        version, key_id = _HEADER.unpack_from(sealed)
        if version == _FORMAT:
            return int(key_id)
    raise unopened(place, "it is no sealed value of a format that this Galena knows")


def unseal(cipher: AESGCM, sealed: bytes, place: Place) -> bytes:
    """What was sealed. Raises SealedError: it was changed or moved, or the key is another."""
    header, rest = sealed[: _HEADER.size], sealed[_HEADER.size :]
    try:
        return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], _bound(header, place))
    except (InvalidTag, ValueError):
        raise unopened(place, "it was changed or moved, or sealed with another key") from None


def unopened(place: Place, why: str) -> SealedError:
    """The error of a value that does not open."""
    return SealedError(
        f"A value in {place.column} of tenant {place.tenant_id!r} does not open ({why}): delete it,"
        " or restore it from a backup."
    )


def _bound(header: bytes, place: Place) -> bytes:
    """The associated data. No two places read the same: neither a tenant's id nor a column's name
    holds a zero byte, and the row comes last."""
    return b"\0".join((header, place.tenant_id.encode(), place.column.encode(), place.row))
