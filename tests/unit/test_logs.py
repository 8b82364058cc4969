"""What a library says, and what crashed in a task, is one line of our own kind."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from provisioner import bootstrap
from provisioner.config import Settings
from provisioner.errors import BadConfig


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give every logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_task_that_crashed_leaves_its_traceback_in_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    bootstrap.set_up_logs(Settings(log_json=True))
    try:
        int("one")
    except ValueError:
        logging.getLogger("celery.app.trace").exception("Task %s raised unexpected", "dedicated.01_claim")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert len(lines) == 1
    assert lines[0]["event"] == "Task dedicated.01_claim raised unexpected"
    assert "ValueError" in lines[0]["exception"]
    assert lines[0]["level"] == "error"


def test_a_step_that_failed_on_purpose_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    bootstrap.set_up_logs(Settings(log_json=True))
    logging.getLogger("celery.app.trace").info("Task raised expected: StepFailed")

    assert capsys.readouterr().err == ""


def test_an_unknown_level_names_the_setting() -> None:
    with pytest.raises(BadConfig, match="PROVISIONER_LOG_LEVEL"):
        bootstrap.set_up_logs(Settings(log_level="LOUD"))


def test_a_command_warns_beside_its_output_which_a_program_may_read(capsys: pytest.CaptureFixture[str]) -> None:
    bootstrap.log_to_stderr()
    structlog.get_logger().info("step_done")
    structlog.get_logger().warning("message_lost", task="control.reconcile")
    said = capsys.readouterr()

    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "message_lost" in said.err
