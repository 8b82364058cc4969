"""The API against its own OpenAPI, by schemathesis: no answer that it does not document, and never a 500."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.served import serve

ARGUMENTS = (
    "--phases=examples,coverage,fuzzing", "--checks=all", "--max-examples=15", "--seed=1", "--generation-database=none",
    "--no-color", "--continue-on-failure",
    # A value that fits the schema may still be refused: whether a package is on sale stands in no schema.
    "--exclude-checks=positive_data_acceptance",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_api_answers_as_it_documents(database_url: str, tmp_path: Path) -> None:
    with serve(database_url) as api:
        api.sell("101")
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{api.port}/openapi.json"]
        token = f"Authorization: Bearer {api.tokens['admin']}"

        found = subprocess.run(
            [*command, *ARGUMENTS, "--header", token],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=380,
        )  # fmt: skip

    assert found.returncode == 0, f"{found.stdout[-8000:]}\n{found.stderr[-2000:]}"
