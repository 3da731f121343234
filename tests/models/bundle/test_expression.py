"""Expressions of bundles: a few are followed as Python would, all others are code and not run."""

from __future__ import annotations

import copy

import pytest

from imaseg.models.bundle.expression import NotDataError, followed

VALUES = {"a": [1, 2], "b": [3], "n": 4, "on": True, "word": "x", "deep#er::0": 7, "d": {"k": 5}}


@pytest.mark.parametrize(
    "text",
    [
        "@a + @b", " @a ", "@n // 3 + @n % 3 - 1", "1.0 - float(@n) / 8", "(@n - 1) * 2", "len(@a) + @n",
        "[1.5, 2] if @on else [3]", "@a if not @on else @b", "@a[0]", "@a[1:]", "@a[-1]", "@d['k']", "list(@a)",
        "tuple(@a)", "'models/' + @word", "@n > 3 and @on", "@n == 4 or @on",
        "0 or @n or 5", "@n and @a and @b", "@word in ['x']", "None", "-@n",
        "[@a, @b]", "[*@a, 3, *@b]", "copy.deepcopy(@a) + @b", "@n is None", "str(@n)", "int('3')",
    ],
)  # fmt: skip
def test_what_is_data_has_the_value_that_python_gives_it(text):
    names = {f"_{i}": value for i, value in enumerate(VALUES.values())}
    python = text
    for i, name in enumerate(VALUES):
        python = python.replace(f"@{name}", f"_{i}") if "#" not in name else python
    assert followed(text, VALUES.__getitem__) == eval(python.strip(), {"copy": copy}, names)


def test_references_may_be_deep():
    assert followed("@deep#er::0 + 1", VALUES.__getitem__) == 8


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("monai.utils.CommonKeys.IMAGE", "image"),
        ("torch.float32", "float32"),
        ("np.uint8", "uint8"),
        ("torch.long", "int64"),
    ],
)
def test_names_of_keys_and_types_are_words(text, value):
    assert followed(text, VALUES.__getitem__) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "@a.append(3)", "lambda x: x", "open('x')", "[x for x in @a]", "@a * 10**9",
        "@a * 3", "'x' * 9", "@n ** 9", "@network.to(@device)", "f'{@n}'", "(",
        "(" * 5000, "'%99999999d' % 1", "@a.__class__", "torch.device('cpu')",
        "len(*@a)", "@a[5]", "1 / 0", "@word + @n", "len(@n)", "torch.load", "1 < 2 < 3",
    ],
)  # fmt: skip
def test_what_is_code_is_not_run(text):
    with pytest.raises(NotDataError):
        followed(text, VALUES.__getitem__)


def test_long_sums_are_not_made():
    with pytest.raises(NotDataError):
        followed("@a + @a", {"a": [0] * 600}.__getitem__)
