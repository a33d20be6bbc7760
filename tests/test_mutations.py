"""The faults of tests/mutations are data that do not rot: each one's text is in its file once, each named test exists."""

import ast
from collections import Counter

import pytest

from tests.mutations import Mutation, mutations
from tests.rig.service import ROOT

ALL = mutations()
each = pytest.mark.parametrize("mutation", ALL, ids=[mutation.name for mutation in ALL])


def test_names_differ_and_can_be_directories():
    assert [name for name, count in Counter(mutation.name for mutation in ALL).items() if count > 1] == []
    assert [mutation.name for mutation in ALL if not mutation.name.replace("-", "").isalnum()] == []


@each
def test_a_fault_can_be_put_in(mutation: Mutation):
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
    changed = text.replace(mutation.old, mutation.new)
    assert changed != text
    if mutation.file.endswith(".py"):
        ast.parse(changed)


@each
def test_its_tests_exist(mutation: Mutation):
    assert mutation.tests
    for test in mutation.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not name or name in functions, test


@each
def test_what_is_not_caught_yet_says_what_is_missing(mutation: Mutation):
    assert mutation.caught or mutation.reason
