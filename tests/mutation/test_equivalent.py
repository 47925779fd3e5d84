from __future__ import annotations

import inspect
import pkgutil
import tomllib

import pytest

from support.mutation_score import EQUIVALENT

MUTANTS = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["mutant"]


@pytest.mark.parametrize("function", sorted({mutant["function"] for mutant in MUTANTS}))
def test_the_code_that_listed_mutants_change_exists(function: str) -> None:
    source = inspect.getsource(pkgutil.resolve_name(function))
    changes = [mutant["change"] for mutant in MUTANTS if mutant["function"] == function]
    before = {
        line.removeprefix("- ")
        for change in changes
        for line in change.splitlines()
        if line.startswith("- ")
    }

    assert before - {line.strip() for line in source.splitlines()} == set()
