"""A systemd user unit that starts `opaque-jobs up` at boot and again when it ends."""

from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["systemd_unit"]

_UNIT = """[Unit]
Description=opaque-jobs: key brokers, Airflow and housekeeping of one home
After=network-online.target
StartLimitIntervalSec=600
StartLimitBurst=5

[Service]
Type=exec
ExecStart={command}
{environment}
EnvironmentFile=-{private}
Restart=on-failure
RestartSec=10
KillMode=mixed
TimeoutStopSec=90
UMask=0077

[Install]
WantedBy=default.target
"""


def systemd_unit(command: Sequence[str], environment: Mapping[str, str], *, private: Path) -> str:
    """Give the unit's text.

    Args:
        command: Program and arguments, by absolute path.
        environment: Variables that it needs, none of them secret: a unit is read by everybody.
        private: A file of further variables, such as the address of a database with its password; it may be missing.

    Source: systemd.service(5), "Command lines"; systemd.exec(5), "Environment=".
    """
    return _UNIT.format(
        command=" ".join(_quoted(each).replace("$", "$$") for each in command),
        environment="\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(environment.items())),
        private=str(private).replace("%", "%%"),
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
