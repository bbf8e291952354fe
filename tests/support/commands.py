"""The command line as people use it, each command a program of its own with its debug output on, kept for a search."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from opaque_jobs.settings import Settings

ROOT = Path(__file__).parents[2]


@dataclass
class Commands:
    """Runs commands as processes in one home, and keeps all that they print below it."""

    folder: Path
    words: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    count: int = 0

    @property
    def searched(self) -> Path:
        """Where everything is but the words."""
        return self.folder / "searched"

    @property
    def settings(self) -> Settings:
        return Settings.load({"OPAQUE_JOBS_HOME": str(self.searched / "home")})

    def file(self, name: str) -> str:
        """Give a private file with a word, outside what is searched."""
        path = self.folder / "words" / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(self.words[name] + "\n")
            path.chmod(0o600)
        return str(path)

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run a command; gives all that it printed."""
        self.count += 1
        said = self.searched / f"said-{self.count}"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(self.folder), "PYTHONWARNINGS": "ignore"}
        environment |= {"OPAQUE_JOBS_HOME": str(self.settings.home)} | self.environment
        with said.open("wb") as file:
            done = subprocess.run(
                [sys.executable, "-m", "opaque_jobs.cli", *arguments, "--debug"],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, timeout=120, check=False,
            )  # fmt: skip
        assert done.returncode == code, said.read_text()
        return said.read_text()
