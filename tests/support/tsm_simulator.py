"""A folder that behaves like configfs-tsm: a new entry is filled, writing `inblob` counts and makes a report, rmdir removes all.

The collector is given a path class whose folders behave so; everything else is real files.
"""

import shutil
from collections.abc import Callable
from pathlib import Path


class TsmSimulator:
    """Plays the kernel for one folder.

    Args:
        root: The folder.
        provider: What it says that it runs on.
        report: Makes a report over what was written.
        auxiliary: Content of `auxblob`; None leaves it out.
    """

    def __init__(
        self, root: Path, *, provider: str = "sev_guest", report: Callable[[bytes], bytes], auxiliary: bytes | None = None
    ) -> None:
        self.root, self.provider, self.report, self.auxiliary = root, provider, report, auxiliary
        self.also_written = 0
        self.made: list[str] = []
        self.asked: list[bytes] = []
        root.mkdir(parents=True, exist_ok=True)

    def entry_made(self, entry: Path) -> None:
        self.made.append(entry.name)
        (entry / "provider").write_text(self.provider + "\n")
        (entry / "generation").write_text("7\n")

    def blob_written(self, entry: Path, data: bytes) -> None:
        self.asked.append(data)
        (entry / "generation").write_text(f"{8 + self.also_written}\n")
        (entry / "outblob").write_bytes(self.report(data))
        if self.auxiliary is not None:
            (entry / "auxblob").write_bytes(self.auxiliary)


class SimulatedPath(type(Path())):
    """A path whose folders are looked after by a simulator, as configfs looks after its own."""

    simulator: TsmSimulator

    def mkdir(self, *args, **kwargs) -> None:
        super().mkdir(*args, **kwargs)
        self.simulator.entry_made(self)

    def open(self, mode="r", *args, **kwargs):
        opened = super().open(mode, *args, **kwargs)
        return _Watched(opened, self) if self.name == "inblob" and "w" in mode else opened

    def rmdir(self) -> None:
        shutil.rmtree(self)


class _Watched:
    def __init__(self, opened, path: SimulatedPath) -> None:
        self._opened, self._path = opened, path

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self._opened.close()

    def write(self, data: bytes) -> int:
        self._opened.write(data)
        self._path.simulator.blob_written(self._path.parent, data)
        return len(data)


def simulated_root(simulator: TsmSimulator) -> Path:
    """Give the root through which a collector meets the simulator."""
    kind = type("BoundPath", (SimulatedPath,), {"simulator": simulator})
    return kind(simulator.root)
