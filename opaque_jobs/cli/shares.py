"""`opaque-jobs org shares`: an organisation's keys in shares for its officers, so that losing one passphrase loses nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from opaque_jobs.broker.config import key_path
from opaque_jobs.cli.command import Noun, common, repeatable
from opaque_jobs.cli.finding import find_organisation
from opaque_jobs.cli.output import print_record
from opaque_jobs.cli.passphrase import (
    NewPassphraseFile,
    PassphraseFile,
    ask_for_key,
    ask_for_new_key,
    ask_passphrase,
    read_passphrase,
)
from opaque_jobs.cli.session import open_sealing_key, services
from opaque_jobs.client.keys import former_key_path, organisation_key_path
from opaque_jobs.crypto.key_files import IN_FILE, open_broker_keys, save_key_file, write_new_private_file
from opaque_jobs.crypto.keys import BrokerKeys, SealingKey
from opaque_jobs.crypto.shares import MAX_SHARES, MIN_THRESHOLD, OrganisationKeys, Share, make_shares, parse_share, recover
from opaque_jobs.errors import ConflictError, InvalidInputError, NotFoundError
from opaque_jobs.services import Services

__all__ = ["app"]

app = Noun(help="Shares of an organisation's keys: any few officers together get them back, fewer learn nothing.")

_MAX_BYTES: Final = 64 * 1024

OfficerFiles = Annotated[
    list[str],
    repeatable(
        "--share-passphrase-file",
        "A private file with an officer's passphrase, one a share in their order. Asked for if left out.",
    ),
]


@app.command("make")
def make(
    *,
    org: Annotated[str, typer.Argument(help="The organisation, by name.")],
    threshold: Annotated[int, typer.Option(min=MIN_THRESHOLD, help="How many officers it takes.")],
    shares: Annotated[int, typer.Option(min=MIN_THRESHOLD, max=MAX_SHARES, help="How many officers there are.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where to write the share files.")],
    share_passphrase_file: OfficerFiles,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write one share file for each officer, each under a passphrase of their own.

    They hold the organisation's present sealing key and, if its broker lives here, the broker's keys. Make new ones after each
    'org rotate-key'. Give each officer their file, and keep none here.

    Example: opaque-jobs org shares make Hospital --threshold 2 --shares 3 --to shares
    """
    with services() as opened:
        keys = _organisation_keys(opened, org, passphrase_file)
    if share_passphrase_file and len(share_passphrase_file) != shares:
        raise InvalidInputError(
            "there is not one passphrase file for each share", hint="give --share-passphrase-file so many times"
        )
    passphrases = [read_passphrase(Path(file)) for file in share_passphrase_file] or [
        ask_for_new_key(IN_FILE, f"officer {number}") for number in range(1, shares + 1)
    ]
    made = make_shares(keys, threshold=threshold, passphrases=passphrases)
    paths = [to / f"{keys.name}.share-{share.number}-of-{shares}.json" for share in made]
    written: list[Path] = []
    try:
        for path, share in zip(paths, made, strict=True):
            write_new_private_file(path, share.to_bytes())
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink()  # a set of which some are missing
        raise
    document = {"organisation": keys.name, "needed": threshold, "files": [str(path) for path in paths], "keys": keys.key_ids}
    print_record(document, as_json=common().json, title="shares made; give each officer theirs")


@app.command("recover")
def recover_(
    *,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Share files, as many as are needed.")],
    share_passphrase_file: OfficerFiles,
    new_passphrase_file: NewPassphraseFile = None,
) -> None:
    """Write an organisation's key files again from its officers' shares, under a new passphrase. Files that exist stay.

    Example: opaque-jobs org shares recover Hospital.share-1-of-3.json Hospital.share-3-of-3.json
    """
    read = [_read(file) for file in files]
    if share_passphrase_file and len(share_passphrase_file) != len(read):
        raise InvalidInputError(
            "there is not one passphrase file for each share", hint="give --share-passphrase-file so many times"
        )
    passphrases = [read_passphrase(Path(file)) for file in share_passphrase_file] or [
        ask_passphrase(f"share {share.number} of '{share.organisation}'") for share in read
    ]
    keys = recover(list(zip(read, passphrases, strict=True)))
    with services() as opened:
        paths = _missing(opened, keys)
        if not paths:
            raise ConflictError("the key files are all here", hint="nothing was written; move them away first to replace them")
        passphrase = ask_for_new_key(IN_FILE, f"the key files of '{keys.name}'", file=new_passphrase_file)
        for path, each in paths:
            save_key_file(path, each, owner_id=keys.organisation_id, passphrase=passphrase)
    document = {"organisation": keys.name, "files": [str(path) for path, _ in paths], "keys": keys.key_ids}
    print_record(document, as_json=common().json, title="key files written")


def _organisation_keys(opened: Services, org: str, passphrase_file: Path | None) -> OrganisationKeys:
    settings, entry = opened.context.settings, find_organisation(opened, org).entry
    path, whose = key_path(settings.broker_dir(entry.id)), f"the key broker of '{entry.name}'"
    return OrganisationKeys(
        organisation_id=entry.id,
        name=entry.name,
        sealing=open_sealing_key(settings, entry.name, passphrase_file),
        broker=open_broker_keys(path, ask_for_key(path, whose, file=passphrase_file)) if path.exists() else None,
    )


def _missing(opened: Services, keys: OrganisationKeys) -> Sequence[tuple[Path, SealingKey | BrokerKeys]]:
    """Give the key files that are not here. A sealing key that was changed since goes where former ones are kept."""
    settings = opened.context.settings
    sealing = organisation_key_path(settings, keys.name)
    known = {each.entry.id: each.entry.sealing_key_id for each in opened.workspaces.organisations()}
    if known.get(keys.organisation_id, keys.sealing.public.key_id) != keys.sealing.public.key_id:
        sealing = former_key_path(sealing, keys.sealing.public.key_id)
    wanted: list[tuple[Path, SealingKey | BrokerKeys]] = [(sealing, keys.sealing)]
    if keys.broker is not None:
        wanted.append((key_path(settings.broker_dir(keys.organisation_id)), keys.broker))
    return [(path, key) for path, key in wanted if not path.exists()]


def _read(file: Path) -> Share:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES)
    except OSError:
        raise NotFoundError("a share file cannot be read", hint="check the path") from None
    return parse_share(data)
