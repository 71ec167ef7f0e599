"""A network of a study has as many parameters as its label says, in millions, where the paper prints them."""

import re

import pytest
from house_files import STUDIES, loaded_study, recipe_of

from sslkuramoto.training.learner import weightless

ROUNDED_OTHERWISE = {
    ("wonn-table-2", "trig_256"): 11_863_908,
    ("wonn-table-2", "vit_b16"): 85_875_556,
    ("wonn-table-10", "mlp_p7_128"): 3_104_868,
    ("wonn-table-10", "trig_p7_64_256"): 7_434_788,
    ("wonn-table-10", "trig_p4_256"): 11_863_908,
}
"""Rows whose printed number is not the rounded one; the notes of their study say so."""
CLASSES = {
    ("cifar10", "data/cifar10"): 10,
    ("cifar100", "data/cifar100"): 100,
    ("image_folder", "data/imagenet100"): 100,
    ("image_folder", "data/imagenet"): 1000,
}
PRINTED = [
    (path.stem, key, float(found[1]))
    for path in STUDIES
    if path.stem.startswith("wonn-table-")
    for key, row in loaded_study(path.stem).rows.items()
    if row.stages and (found := re.search(r"\((\d+\.\d\d)M\)$", row.label))
]


def parameters(study: str, row: str) -> int:
    """Return the parameters of encoder and classifier; an image folder does not say its classes before it is read."""
    recipe = recipe_of(study, row, 0)
    _, encoder, objective = weightless(recipe)
    head = objective.new_head(encoder.num_features, CLASSES[recipe.data.name, recipe.data.options["root"]])
    return sum(parameter.numel() for part in (encoder, head) for parameter in part.parameters())


def test_there_are_printed_numbers_to_check() -> None:
    assert len(PRINTED) > 60


@pytest.mark.parametrize(("study", "row", "millions"), PRINTED, ids=lambda part: part)
def test_a_network_has_the_printed_number_of_parameters(study: str, row: str, millions: float) -> None:
    ours = parameters(study, row)
    if (study, row) in ROUNDED_OTHERWISE:
        assert ours == ROUNDED_OTHERWISE[study, row]
        assert f"{ours:,}" in " ".join(loaded_study(study).notes)
        return
    assert round(ours / 1e6, 2) == pytest.approx(millions)
