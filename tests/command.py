"""The command line as a person gives it, in this process: what it prints, and how it ends."""

from __future__ import annotations

import pytest

from provisioner.cli import main


class CommandLine:
    """Give a command; returns exit code, output, errors."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = main.run(main.make(), words)
        said = self._capsys.readouterr()
        return code, said.out, said.err
