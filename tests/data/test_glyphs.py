"""Glyphs and the data of same/different and match-to-sample made of them."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from matplotlib import get_data_path
from PIL import Image, features

from sslkuramoto.data import DATA, batches, expected_spec, in_order
from sslkuramoto.data.glyphs import bitmaps
from sslkuramoto.data.glyphs.bitmaps import (
    ALIKE,
    CHARACTERS,
    HASH,
    as_sheet,
    differences,
    font_bitmaps,
    from_sheet,
    hash_of,
    shipped_bitmaps,
    stroke_bitmaps,
)
from sslkuramoto.data.glyphs.glyph_set import _areas
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Images, Pairs
from sslkuramoto.randomness import generator

FONTS = Path(get_data_path()) / "fonts" / "ttf"
SANS, MATHS = str(FONTS / "DejaVuSans.ttf"), str(FONTS / "cmr10.ttf")
RENDERED_BY = "2.14.3"  # the FreeType that rendered the shipped bitmaps
TASKS = ["same-different", "match-to-sample"]
every_task = pytest.mark.parametrize("task", TASKS)
FAMILIES = {"font": shipped_bitmaps, "strokes": stroke_bitmaps}


def longer_sides(ink: torch.Tensor) -> torch.Tensor:
    """Return the longer side of the box around the ink of each picture, "n y x", in pixels."""
    side = torch.arange(1, ink.shape[-1] + 1)
    lines = [ink.any(dim=axis) * side for axis in (2, 1)]
    return torch.maximum(*(each.amax(1) - each.masked_fill(each == 0, 999).amin(1) + 1 for each in lines))


@pytest.mark.parametrize("family", FAMILIES)
def test_there_are_a_hundred_glyphs_and_any_two_differ_clearly(family: str) -> None:
    found = FAMILIES[family]()
    assert found.shape == (100, 64, 64)
    apart = differences(found).fill_diagonal_(1)
    assert apart.min() > 2 * ALIKE
    ink = (found > 127).flatten(1)
    assert ink.any(dim=1).all()
    assert (ink.double().mean(dim=1) < 0.7).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_longer_side_of_a_glyph_fills_its_bitmap(family: str) -> None:
    assert longer_sides(FAMILIES[family]() > 0).eq(64).all()


def test_the_shipped_bitmaps_have_the_recorded_hash() -> None:
    assert hash_of(shipped_bitmaps()) == HASH
    assert len(CHARACTERS) == len(set(CHARACTERS)) == 100


def test_the_font_gives_the_shipped_bitmaps_again() -> None:
    again = font_bitmaps(SANS, CHARACTERS)
    if features.version("freetype2") == RENDERED_BY:
        assert hash_of(again) == HASH
    assert ((again.double() - shipped_bitmaps().double()).abs() / 255).flatten(1).mean(dim=1).max() < ALIKE / 4


def test_a_sheet_holds_its_bitmaps() -> None:
    found = shipped_bitmaps()
    assert torch.equal(from_sheet(as_sheet(found)), found)


def test_strokes_are_the_same_each_time() -> None:
    first = stroke_bitmaps()
    stroke_bitmaps.cache_clear()
    assert torch.equal(first, stroke_bitmaps())


@pytest.mark.parametrize(("given", "wanted"), [(64, 16), (64, 20), (64, 64), (6, 9)])
def test_a_bitmap_is_scaled_by_the_area_that_cells_share(given: int, wanted: int) -> None:
    weights = _areas(given, wanted)
    fine = torch.arange(given * wanted)  # cells so fine that both grids are made of them
    brute = torch.zeros(wanted, given, dtype=torch.float64)
    brute.index_put_((fine // given, fine // wanted), torch.full((len(fine),), 1 / given).double(), accumulate=True)
    torch.testing.assert_close(weights, brute, rtol=0, atol=1e-6)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(wanted, dtype=torch.float64))


@every_task
@pytest.mark.parametrize("m", [95, 50, 15])
def test_the_test_split_shows_icons_that_training_never_showed(task: str, m: int) -> None:
    options = {"train_icons": m, "pairs": 400, "pairs_test": 200}
    seen = {split: set(DATA.build(task, options, split).icons.flatten().tolist()) for split in ("train", "val", "test")}
    assert len(seen["train"]) == m
    assert seen["val"] <= seen["train"]
    assert not seen["train"] & seen["test"]
    assert len(seen["train"] | seen["test"]) == 100


@every_task
def test_more_training_icons_are_the_same_and_others_and_another_split_has_others(task: str) -> None:
    seen = [
        set(DATA.build(task, {"pairs": 400, "train_icons": m, "icon_split": split}, "train").icons.flatten().tolist())
        for m, split in ((15, 0), (50, 0), (95, 0), (50, 1))
    ]
    assert all(few < more for few, more in pairwise(seen[:3]))
    assert seen[1] != seen[3]


def test_numbers_of_pairs_are_those_of_the_published_task() -> None:
    found = [len(DATA.build("same-different", {"train_icons": m}, "train")) for m in (15, 50, 95)]
    assert found == [420, 4900, 10_000]
    assert len(DATA.build("same-different", {}, "test")) == 40
    assert len(DATA.build("match-to-sample", {}, "test")) == 480


@pytest.mark.parametrize("m", [15, 95])
def test_half_of_the_pairs_are_the_same_and_no_pair_comes_twice_before_all_have_come(m: int) -> None:
    data = DATA.build("same-different", {"train_icons": m}, "train")
    same = data.icons[:, 0] == data.icons[:, 1]
    assert torch.equal(same, data.labels == 0)
    assert same.sum() * 2 == len(data)
    different = {tuple(pair) for pair in data.icons[~same].tolist()}
    assert len(different) == len(data) // 2
    shown = torch.bincount(data.icons[same, 0], minlength=100)
    assert shown[shown > 0].max() - shown[shown > 0].min() <= 1


def test_a_match_to_sample_example_follows_the_rules_and_answers_are_balanced() -> None:
    data = DATA.build("match-to-sample", {"pairs": 400}, "train")
    same = (data.icons[:, ::2] == data.icons[:, 1::2]).tolist()  # source, first target, second target
    kinds = []
    for (source, first, second), icons, label in zip(same, data.icons.tolist(), data.labels.tolist(), strict=True):
        assert first != second, "one target pair is the same, the other different"
        assert label == (0 if first == source else 1)
        assert len(set(icons)) == (4 if source else 5)
        assert not set(icons[:2]) & set(icons[2:])
        assert not set(icons[2:4]) & set(icons[4:])
        kinds.append((source, label))
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(set(kinds), 100)


@every_task
def test_pictures_are_dark_glyphs_on_white_at_random_sizes_and_places(task: str) -> None:
    data = DATA.build(task, {"pairs": 300, "scale": [0.5, 0.75], "size": 32}, "train")
    longer = longer_sides(data.pictures.flatten(0, 1) < 255)
    assert (longer.min(), longer.max()) == (16, 24)
    assert (data.pictures == 255).any()
    assert ((data.pictures > 0) & (data.pictures < 255)).any(), "greys at the edges"
    inked = (data.pictures < 128).flatten(0, 1).any(dim=0)
    assert inked.any(dim=0).all(), "glyphs reach every column"
    assert inked.any(dim=1).all(), "and every row"
    assert data.pictures.flatten(2)[:, :, 0].eq(255).double().mean() > 0.5


def test_without_jitter_glyphs_are_in_the_middle() -> None:
    data = DATA.build("same-different", {"pairs": 100, "jitter": 0.0, "scale": [0.5, 0.5]}, "train")
    ink = data.pictures.flatten(0, 1) < 255
    assert not ink[:, :8].any()
    assert not ink[:, 24:].any()
    assert ink[:, 8].any()
    assert ink[:, 23].any()


def test_a_picture_at_full_size_is_the_bitmap() -> None:
    options = {"pairs": 20, "scale": [1.0, 1.0], "size": 64}
    data = DATA.build("same-different", options, "train")
    assert torch.equal(255 - data.pictures, shipped_bitmaps()[data.icons])


@every_task
def test_the_same_options_give_the_same_examples_and_others_give_others(task: str) -> None:
    def fingerprint(split: str = "train", **options: object) -> str:
        return DATA.build(task, {"pairs": 40, "pairs_test": 40, **options}, split).fingerprint

    assert fingerprint() == fingerprint()
    changed = [{"pair_seed": 1}, {"icon_split": 1}, {"train_icons": 50}, {"glyphs": "strokes"}, {"size": 16}]
    assert len({fingerprint(), fingerprint("val"), *(fingerprint(**each) for each in changed)}) == 7


@every_task
def test_a_batch_holds_pixels_labels_and_the_icon_of_each_picture(task: str) -> None:
    data = DATA.build(task, {"pairs": 24}, "train")
    p = data.spec.per_example
    batch = next(iter(batches(data, in_order(24, 10), device="cpu")))
    assert data.spec == Pairs(Images(32), p) == expected_spec(task, {})
    assert batch.inputs.shape == (10, p, 3, 32, 32)
    assert batch.inputs.dtype == torch.float32
    assert (batch.inputs[:, :, 0] == batch.inputs[:, :, 2]).all()
    torch.testing.assert_close(batch.inputs[:, :, 1] * 255, data.pictures[:10].float())
    assert torch.equal(batch.targets, data.labels[:10])
    assert torch.equal(batch.extra["icons"], data.icons[:10])


@every_task
def test_making_examples_leaves_the_global_generator_alone(task: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    DATA.build(task, {"pairs": 24}, "train")
    assert torch.equal(torch.get_rng_state(), before)


def refused(task: str, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        DATA.build(task, {"pairs": 24, "pairs_test": 20, **options}, "train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@every_task
@pytest.mark.parametrize("m", [97, 99, 100, 150])
def test_fewer_icons_than_a_split_needs_are_refused_before_anything_is_drawn(task: str, m: int, monkeypatch) -> None:
    if task == "same-different" and m == 97:
        assert len(DATA.build(task, {"train_icons": m, "pairs_test": 20}, "test")) == 20
        return
    monkeypatch.setattr(bitmaps, "shipped_bitmaps", lambda: pytest.fail("bitmaps were read"))
    least = {"same-different": 2, "match-to-sample": 5}[task]
    wanted = (
        f"train_icons={m}: {task} needs at least {least} icons in each split, and of 100 {max(100 - m, 0)} are left"
    )
    assert wanted in refused(task, train_icons=m)
    with pytest.raises(UserError, match="needs at least"):
        expected_spec(task, {"train_icons": m})


@every_task
def test_too_few_training_icons_are_refused(task: str) -> None:
    assert "needs at least" in refused(task, train_icons=1)


def test_other_characters_of_another_font_are_icons_too() -> None:
    options = {"font": MATHS, "characters": "ABCDEFGHKR", "train_icons": 5}
    data = DATA.build("match-to-sample", {**options, "pairs": 40}, "train")
    assert set(data.icons.flatten().tolist()) <= set(range(10))


def test_a_font_that_lacks_a_glyph_is_refused_with_the_character() -> None:
    line = refused("same-different", font=MATHS, characters="A\u260aBCD", train_icons=2)
    assert "cmr10.ttf: lacks a glyph for '\u260a' (U+260A); characters= takes others" in line
    assert "lacks a glyph for" in refused("same-different", font=MATHS)
    assert " others; characters= takes others" in refused("same-different", font=MATHS)


def test_what_is_no_font_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "letter.ttf"
    assert "letter.ttf: cannot be read as a font" in refused("same-different", font=str(file))
    file.write_bytes(b"a letter to the editor")
    assert "letter.ttf: cannot be read as a font" in refused("same-different", font=str(file))
    Image.new("L", (8, 8)).save(tmp_path / "picture.png")
    assert "cannot be read as a font" in refused("same-different", font=str(tmp_path / "picture.png"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"font": SANS, "characters": "ABAC", "train_icons": 2}, "'A' (U+0041) is there twice"),
        ({"font": SANS, "characters": "ABC\u0391DEF", "train_icons": 3}, "'A' (U+0041) and 'Α' (U+0391) look alike"),
        ({"font": SANS, "characters": "AB CDE", "train_icons": 3}, "draws nothing for ' ' (U+0020)"),
        ({"characters": "ABCDEF", "train_icons": 3}, "characters: needs font"),
        ({"font": SANS, "glyphs": "strokes"}, "needs glyphs=font"),
        ({"scale": [0.9, 0.5]}, "the smallest length first"),
        ({"scale": [0.1, 0.5]}, "the smallest glyph must have 4 pixels"),
        ({"scale": [0.5, 1.5]}, "must be"),
        ({"size": 4}, "must be"),
    ],
)
def test_options_that_give_no_pictures_are_refused(options: dict, message: str) -> None:
    assert message in refused("same-different", **options)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UserError, match="unknown split 'valid'"):
        DATA.build("same-different", {}, "valid")


def test_places_are_spread_evenly_over_the_free_room() -> None:
    data = DATA.build("same-different", {"pairs": 4000, "scale": [0.5, 0.5], "size": 16, "pair_seed": 3}, "train")
    ink = data.pictures.flatten(0, 1) < 255
    tall = ink.any(dim=2)
    full = tall.sum(dim=1) == 8  # glyphs whose height is their longer side
    top = tall[full].double().argmax(dim=1)
    counts = torch.bincount(top, minlength=9)
    assert len(counts) == 9
    expected = len(top) / 9
    assert ((counts - expected) ** 2 / expected).sum() < 26.1  # chi-square, 8 degrees of freedom, p = 0.001


def test_the_seed_of_the_pairs_is_a_key_of_its_own() -> None:
    """Sizes and places come from the generator of source and split, so that val is other pictures of the same icons."""
    one = DATA.build("same-different", {"pairs": 40, "pairs_test": 40}, "train")
    val = DATA.build("same-different", {"pairs": 40, "pairs_test": 40}, "val")
    assert not torch.equal(one.pictures, val.pictures)
    assert generator("cpu", 0, "same-different", "train").initial_seed() != generator("cpu", 1).initial_seed()
