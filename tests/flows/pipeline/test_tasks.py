"""What holds for every Prefect task of ours, whichever module it is in."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from prefect import Task
from prefect.cache_policies import NO_CACHE

FLOWS = Path(__file__).parents[3] / "flows"


def decorated() -> Iterator[tuple[str, str]]:
    """(module, function) of everything below `flows` that is decorated as a task."""
    for file in sorted(FLOWS.rglob("*.py")):
        module = ".".join(file.relative_to(FLOWS.parent).with_suffix("").parts)
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any(_is_task(each) for each in node.decorator_list):
                yield module, node.name


def _is_task(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Name) and called.id == "task"


@pytest.mark.parametrize(("module", "name"), [*decorated()])
def test_prefect_hands_no_task_the_result_of_another_one(module, name):
    """With its INPUTS policy the task is no part of the key: a student would be given the result of its teacher."""
    task = getattr(import_module(module), name)
    assert isinstance(task, Task)
    assert task.cache_policy == NO_CACHE
    assert task.persist_result is False


def test_the_tasks_are_found():
    assert {"run_stage", "open_store"} <= {name for _, name in decorated()}
