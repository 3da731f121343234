from __future__ import annotations

import pytest

from imaseg.data.preparation.recipe import Recipe, load_recipe, parse_recipe
from imaseg.errors import InputError


def test_the_shipped_default_spells_out_the_defaults():
    assert load_recipe("msd") == Recipe()


def test_a_file_overrides_only_what_it_names(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("spacing: [1, 1, 2.5]\nnormalise: none\ncrop: null\n")
    recipe = load_recipe(path)
    assert recipe.spacing == (1.0, 1.0, 2.5)
    assert (recipe.normalise, recipe.crop, recipe.orientation) == ("none", None, "RAS")
    assert parse_recipe(recipe.model_dump(mode="json"), source="record") == recipe


def test_unknown_key_names_file_key_and_known_keys(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("spacng: median")
    with pytest.raises(InputError, match=r"my.yaml: key must be one of layout, .* spacing, .* got 'spacng'"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spacing: [1, 1]", r"spacing must be three positive numbers in mm, median or null, got \[1, 1\]"),
        ("spacing: [1, 1, 0]", "spacing must be three positive numbers"),
        ("spacing: [1, 1, .nan]", "spacing must be three positive numbers"),
        ("orientation: LRS", "orientation must be three directions such as RAS or LPS, or null, got 'LRS'"),
        (
            "normalise: transforms",
            "transforms must be a list of MONAI's transforms, each with",
        ),
        ("label_threshold: .nan", "label_threshold must be a number, got nan"),
        ("window: {low: -1.0e+308, high: 1.0e+308}", "window must be"),
        (f"patient: '{500 * '('}{500 * ')'}'", "patient must be a regular expression"),
        ("crop: tight", "crop must be foreground, body or null, got 'tight'"),
        ("crop_margin: -1", "crop_margin must be a whole number of voxels from 0, got -1"),
        (
            "normalise: minmax",
            "normalise must be auto, zscore, masked-zscore, percentile, window, ct, range, none or transforms, got",
        ),
        ("[1, 2]", "must hold `key: value` lines, got list"),
        ("a: [", "must be valid YAML"),
    ],
)
def test_wrong_values_are_named(tmp_path, text, message):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_recipe(path)


def test_unknown_recipe_and_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"must be one of those that ship \(.*msd.*\), got 'nobody'"):
        load_recipe("nobody")
    with pytest.raises(InputError, match=r"gone.yaml must be a readable YAML file"):
        load_recipe(tmp_path / "gone.yaml")
