"""One suite a port, run on every implementation of it."""

import pytest

pytest.register_assert_rewrite("tests.contract.driver_suite")
