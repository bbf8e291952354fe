"""The keys inside encrypted Parquet files: their tree, their wrapping, and the names they are derived from.

Parquet Modular Encryption, AES_GCM_V1, 256 bit, encrypted footer, `doubleWrapping` false, internal key material. The
table below is the format: `parquet_write` writes it, `parquet_read` and our Java inside Spark read it.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import urandom
from typing import Any, Final, Self
from urllib.parse import quote, unquote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from opaque_jobs.domain.canonical import canonical_bytes, parse_canonical
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = [
    "ENCRYPTED_MAGIC",
    "KEY_BYTES",
    "MasterKeyId",
    "ReleasedKeys",
    "RootKey",
    "derive",
    "logical_name",
    "parse_master_key_id",
    "part_name",
    "physical_name",
    "released_keys",
    "result_aad_prefix",
    "result_file_key",
    "result_stream_key",
    "unwrap_data_key",
    "wrap_data_key",
]

# Format, version 1. All strings are UTF-8. HKDF = HKDF-SHA256, no salt, 32 bytes out. || joins bytes.
#
# Dataset files, named part-00000.parquet, part-00001.parquet, ...
#   root key           32 random bytes per dataset version; only the owner's broker has it
#   footer key         HKDF(root, info = "opaque-jobs/v1|<dataset>|<version>|footer")
#   column key         HKDF(root, info = "opaque-jobs/v1|<dataset>|<version>|column|<column>")
#                      <column> = logical name of the top-level column
#   wrapping key       HKDF(footer key or column key, info = "part|<part>"); <part> = file name, e.g. part-00000.parquet
#   master key id      base64url without padding of the RFC 8785 bytes of
#                      {"c":<column, or null for the footer>,"d":<dataset>,"p":<part>,"v":<version, an integer>}
#                      (not the JSON itself: pyarrow's list of keys cannot carry ':' ',' ';')
#   wrapped data key   base64 (standard, padded) of nonce (12) || AES-256-GCM(wrapping key, nonce, data key,
#                      AAD = the ASCII bytes of the master key id)
#   key metadata       parquet-mr's JSON {"keyMaterialType":"PKMT1","internalStorage":true,"isFooterKey":..,
#                      "masterKeyID":..,"doubleWrapping":false,"wrappedDEK":..}; the footer's also has kmsInstanceID
#                      and kmsInstanceURL
#   physical names     of columns, and of struct fields at any depth: every byte of the logical name's UTF-8 except
#                      A-Z a-z 0-9 _ - ~ written as %XX (upper case hex), so 'a b.c' stands as 'a%20b%2Ec'. Nested data
#                      is under the key of its top-level column. Lists and maps keep Parquet's own levels
#                      (list.element, key_value.key, key_value.value).
#
# Result files, which leave inside one sealed stream (`result_file`) that holds their order; one key for all of a run,
# for footers and all columns
#   file key           HKDF(result key, info = "opaque-jobs/v1|result|<run id>|parquet")
#   AAD prefix         "<run id>|result", not stored in the file

KEY_BYTES: Final = 32
ENCRYPTED_MAGIC: Final = b"PARE"
_NONCE_BYTES: Final = 12
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_PART: Final = re.compile(r"part-[0-9]{5}\.parquet")
_MAX_PARTS: Final = 100_000


def derive(secret: bytes, info: str) -> bytes:
    """Derive a 32-byte key (HKDF-SHA256 without salt; Source: RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info.encode()).derive(secret)


def part_name(index: int) -> str:
    """Give the file name of a dataset's part.

    Raises:
        InvalidInputError: The index is outside 0..99999.
    """
    if not 0 <= index < _MAX_PARTS:
        raise InvalidInputError("a dataset has too many parts", hint="use larger parts", limit=_MAX_PARTS)
    return f"part-{index:05d}.parquet"


def physical_name(logical: str) -> str:
    """Give the name under which a column or struct field stands in a file."""
    return quote(logical, safe="").replace(".", "%2E")


def logical_name(physical: str) -> str:
    """Undo `physical_name`.

    Raises:
        TrustError: The name was not made by `physical_name`.
    """
    try:
        logical = unquote(physical, errors="strict")
    except UnicodeDecodeError:
        logical = ""
    if not logical or physical_name(logical) != physical:
        raise TrustError("a file has a column name that this program does not write", hint="ask the owner for the dataset again")
    return logical


def _check_id(value: Any, *, what: str) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidInputError(f"{what} has characters that ids do not have", hint="ids are letters, digits, '_', '-' and '.'")
    return value


def _check_version(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise InvalidInputError("a dataset version is a whole number from 1 on", hint="was the right version given?")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterKeyId:
    """Which key wraps a data key: dataset, version, part, and the top-level column (None = footer)."""

    dataset_id: str
    version: int
    part: str
    column: str | None

    def __str__(self) -> str:
        """Give the text that stands in the file and is the AAD of the wrapped key."""
        document = {"c": self.column, "d": self.dataset_id, "p": self.part, "v": self.version}
        return base64.urlsafe_b64encode(canonical_bytes(document)).decode("ascii").rstrip("=")


def parse_master_key_id(text: str) -> MasterKeyId:
    """Parse the untrusted text of a master key id.

    Raises:
        InvalidInputError: It is not exactly what `MasterKeyId` writes.
    """
    what = "key id of an encrypted file"
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise InvalidInputError(f"{what} is damaged", hint="fetch the file again") from None
    document = parse_canonical(raw, fields=("c", "d", "p", "v"), what=what)
    column, part = document["c"], document["p"]
    if not (column is None or isinstance(column, str)) or not isinstance(part, str) or not _PART.fullmatch(part):
        raise InvalidInputError(f"{what} has a wrong part or column", hint="fetch the file again")
    parsed = MasterKeyId(
        dataset_id=_check_id(document["d"], what=what), version=_check_version(document["v"]), part=part, column=column
    )
    if str(parsed) != text:
        raise InvalidInputError(f"{what} is not in canonical form", hint="fetch the file again")
    return parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedKeys:
    """What a broker hands out of one dataset version: the footer key and some column keys, never the root key."""

    dataset_id: str
    version: int
    footer_key: bytes = field(repr=False)
    column_keys: Mapping[str, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        """Check ids and key lengths.

        Raises:
            InvalidInputError: An id, the version or a key has the wrong form.
        """
        _check_id(self.dataset_id, what="dataset id")
        _check_version(self.version)
        if any(type(key) is not bytes or len(key) != KEY_BYTES for key in (self.footer_key, *self.column_keys.values())):
            raise InvalidInputError("a released key has the wrong length", hint="ask the broker again")

    def key_for(self, column: str | None) -> bytes:
        """Give the key of a top-level column, or of the footer for None.

        Raises:
            TrustError: The column's key was not released.
        """
        if column is None:
            return self.footer_key
        if column not in self.column_keys:
            raise TrustError("no key was released for a column", hint="only columns named in the approved job can be read")
        return self.column_keys[column]

    def to_document(self) -> dict[str, Any]:
        """Give the JSON form: `footer_key` and `column_keys` in base64. Secret: only ever inside a seal."""
        return {
            "dataset_id": self.dataset_id,
            "version": self.version,
            "footer_key": base64.b64encode(self.footer_key).decode("ascii"),
            "column_keys": {name: base64.b64encode(key).decode("ascii") for name, key in self.column_keys.items()},
        }

    @classmethod
    def parse_document(cls, document: Any) -> Self:
        """Read the JSON form back.

        Raises:
            InvalidInputError: A field is missing, unknown or of the wrong form.
        """
        if not isinstance(document, dict) or set(document) != {"dataset_id", "version", "footer_key", "column_keys"}:
            raise InvalidInputError("released keys have missing or unknown fields", hint="broker and agent must match")
        columns = document["column_keys"]
        if not isinstance(columns, dict):
            raise InvalidInputError("released column keys are not an object", hint="broker and agent must match")
        return cls(
            dataset_id=document["dataset_id"],
            version=document["version"],
            footer_key=_decode_key(document["footer_key"]),
            column_keys={name: _decode_key(text) for name, text in columns.items()},
        )


def _decode_key(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InvalidInputError("a released key is not base64", hint="broker and agent must match") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class RootKey:
    """The secret of one dataset version, from which its other keys are derived."""

    dataset_id: str
    version: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check ids and key length.

        Raises:
            InvalidInputError: An id, the version or the secret has the wrong form.
        """
        _check_id(self.dataset_id, what="dataset id")
        _check_version(self.version)
        if len(self.secret) != KEY_BYTES:
            raise InvalidInputError("a dataset's root key has the wrong length", hint="was the right file given?")

    @classmethod
    def generate(cls, *, dataset_id: str, version: int) -> Self:
        """Make a fresh root key."""
        return cls(dataset_id=dataset_id, version=version, secret=urandom(KEY_BYTES))


def released_keys(root: RootKey, columns: Iterable[str]) -> ReleasedKeys:
    """Derive the footer key and the keys of these top-level columns (logical names)."""
    scope = f"opaque-jobs/v1|{root.dataset_id}|{root.version}"
    return ReleasedKeys(
        dataset_id=root.dataset_id,
        version=root.version,
        footer_key=derive(root.secret, f"{scope}|footer"),
        column_keys={name: derive(root.secret, f"{scope}|column|{name}") for name in columns},
    )


def wrap_data_key(keys: ReleasedKeys, key_id: MasterKeyId, data_key: bytes) -> str:
    """Wrap a file's data key under the key that `key_id` names.

    Raises:
        TrustError: `keys` is of another dataset version, or lacks the column.
    """
    wrapping = derive(_key_of(keys, key_id), f"part|{key_id.part}")
    nonce = urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(wrapping).encrypt(nonce, data_key, str(key_id).encode("ascii"))).decode("ascii")


def unwrap_data_key(keys: ReleasedKeys, text: str, wrapped: str, *, part: str) -> bytes:
    """Unwrap the data key of a file that is expected to be `part`.

    Trust: `text` and `wrapped` come from the file; `part` is what was asked for by path, so a file under another part's
    name is refused. An older whole file is not noticed here, only by the signed manifest.

    Raises:
        InvalidInputError: The key id does not parse.
        TrustError: It names another dataset, version or part, its column's key was not released, or the tag fails.
    """
    key_id = parse_master_key_id(text)
    if key_id.part != part:
        raise TrustError("an encrypted file is not the part that its name says", hint="fetch the dataset again", part=part)
    wrapping = derive(_key_of(keys, key_id), f"part|{part}")
    try:
        raw = base64.b64decode(wrapped, validate=True)
        return AESGCM(wrapping).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], text.encode("ascii"))
    except (InvalidTag, binascii.Error, ValueError):
        raise TrustError("the key inside an encrypted file does not open", hint="fetch the dataset again", part=part) from None


def _key_of(keys: ReleasedKeys, key_id: MasterKeyId) -> bytes:
    if (key_id.dataset_id, key_id.version) != (keys.dataset_id, keys.version):
        raise TrustError("an encrypted file is of another dataset or version", hint="fetch the dataset again")
    return keys.key_for(key_id.column)


def result_file_key(result_key: bytes, *, run_id: str) -> bytes:
    """Derive the key of a run's encrypted Parquet files."""
    return derive(result_key, f"opaque-jobs/v1|result|{_check_id(run_id, what='run id')}|parquet")


def result_aad_prefix(*, run_id: str) -> bytes:
    """Give the AAD prefix of a run's encrypted Parquet files."""
    return f"{_check_id(run_id, what='run id')}|result".encode()


def result_stream_key(result_key: bytes, *, run_id: str) -> bytes:
    """Derive the key of the sealed stream in which they leave."""
    return derive(result_key, f"opaque-jobs/v1|result|{_check_id(run_id, what='run id')}|stream")
