"""Generated scenes: stamps drawn by hand, what each data set promises of every scene, seeds."""

import numpy as np
import pytest
import torch

from sslkuramoto.data import DATA
from sslkuramoto.data.scenes.chunks import CHUNK
from sslkuramoto.data.scenes.scene_set import SceneSet
from sslkuramoto.data.scenes.shapes import outlines
from sslkuramoto.data.scenes.sprites import rgb_of, stamps_of
from sslkuramoto.data.scenes.stamps import disk, painted, polygon
from sslkuramoto.data.scenes.tetrominoes import COLOURS, pieces
from sslkuramoto.errors import UserError

TRIANGLE = """
........#.........
.......###........
......##.##.......
.....##...##......
....##.....##.....
...##.......##....
..#############...
.###############..
"""
DIAMOND = """
........#.........
.......###........
......##.##.......
.....##...##......
....##.....##.....
...##.......##....
..##.........##...
...##.......##....
....##.....##.....
.....##...##......
......##.##.......
.......###........
........#.........
"""
SQUARE = "\n".join(["...##########....."] * 2 + ["...##......##....."] * 6 + ["...##########....."] * 2)
CIRCLE = """
.....#######......
....#########.....
...###.....###....
..###.......###...
..##.........##...
..##.........##...
..##.........##...
..##.........##...
..##.........##...
..###.......###...
...###.....###....
....#########.....
.....#######......
"""


def made(name: str, count: int = 200, split: str = "test", **options: int) -> tuple[np.ndarray, np.ndarray]:
    data = DATA.build(name, {"scenes_test": count, "scenes": count, **options}, split)
    assert isinstance(data, SceneSet)
    (batch,) = data.batches([torch.arange(len(data))], torch.device("cpu"), 0)
    return (255 * batch.inputs).round().byte().numpy(), batch.extra["masks"].numpy()


@pytest.mark.parametrize(
    ("kind", "first", "drawn"), [(0, 4, TRIANGLE), (1, 3, SQUARE), (2, 2, CIRCLE), (3, 2, DIAMOND)]
)
def test_the_outlines_are_those_drawn_by_hand(kind: int, first: int, drawn: str) -> None:
    rows = drawn.strip("\n").split("\n")
    wanted = np.zeros((18, 18), dtype=bool)
    wanted[first : first + len(rows)] = [[sign == "#" for sign in row] for row in rows]
    np.testing.assert_array_equal(outlines()[kind].numpy(), wanted)


def test_a_polygon_holds_its_corners_and_edges_and_a_disk_not_its_rim() -> None:
    found = polygon([(0, 0), (0, 4), (4, 4), (2, 2), (4, 0)], 6).int().tolist()
    assert found == [
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 0, 1, 1, 0],
        [1, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert disk((2, 2), 2, 5).int().tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0],
    ]


def test_a_later_stamp_covers_an_earlier_one_or_marks_what_they_share() -> None:
    stamp, at = torch.ones(1, 2, 2, dtype=torch.bool), torch.tensor([[0, 1, 0]])
    given = (stamp, torch.zeros(1, 3, dtype=torch.int64), at, at, torch.tensor([[True, True, False]]))
    assert painted(*given, side=4)[0].tolist() == [[1, 1, 0, 0], [1, 2, 2, 0], [0, 2, 2, 0], [0, 0, 0, 0]]
    assert painted(*given, side=4, overlap=9)[0, 1].tolist() == [1, 9, 2, 0]


def test_shapes_are_two_to_four_white_outlines_on_one_grey() -> None:
    images, masks = made("shapes", 300)
    assert (images[:, 0] == images[:, 1]).all()
    assert (images[:, 0] == images[:, 2]).all()
    counts = set()
    for image, mask in zip(images[:, 0], masks, strict=True):
        (grey,) = np.unique(image[mask == 0])
        assert round(255 * 0.1) <= grey <= round(255 * 0.6)
        assert (image[mask != 0] == 255).all()
        counts.add(int(mask.max()))
    assert counts <= {1, 2, 3, 4}
    assert counts >= {2, 3, 4}
    assert (masks == -1).any(), "where shapes cross"
    sizes = {int(stamp.sum()) for stamp in outlines()}
    whole = [mask for mask in masks if not (mask == -1).any()]
    assert {int((mask == k).sum()) for mask in whole for k in range(1, mask.max() + 1)} <= sizes


def test_tetrominoes_are_seventeen_different_pieces_of_four_cells() -> None:
    stamps, extent = pieces()
    assert len({stamp.numpy().tobytes() for stamp in stamps}) == 17
    assert (stamps.flatten(1).sum(dim=1) == 4 * 25).all()
    for stamp, (height, width) in zip(stamps, extent.tolist(), strict=True):
        assert stamp[:height, :width].sum() == 100
        assert stamp[height - 1].any()
        assert stamp[:, width - 1].any()


def test_a_scene_of_tetrominoes_holds_three_pieces_of_one_colour_each_on_black() -> None:
    images, masks = made("tetrominoes", 300)
    assert images.shape[1:] == (3, 32, 32)
    seen = set()
    for image, mask in zip(images, masks, strict=True):
        assert not image[:, mask == 0].any()
        for piece in range(1, 4):
            colours = {tuple(map(int, pixel)) for pixel in image[:, mask == piece].T}
            assert len(colours) == 1
            seen |= colours
            assert 0 < (mask == piece).sum() <= 100, "whole, or cut at the edge; no pixel of two pieces"
    assert seen == set(COLOURS)
    inside = [mask for mask in masks if not (mask[[0, -1]].any() or mask[:, [0, -1]].any())]
    assert inside
    assert all((mask == piece).sum() == 100 for mask in inside for piece in range(1, 4))


def test_sprites_have_one_colour_each_and_ten_pixels_that_can_be_seen() -> None:
    images, masks = made("sprites", 400)
    counts = []
    for image, mask in zip(images, masks, strict=True):
        assert sorted(np.unique(mask)) == list(range(mask.max() + 1)), "numbers without gaps"
        counts.append(int(mask.max()))
        background = image[:, mask == 0]
        assert len(np.unique(background)) == 1, "one grey"
        for sprite in range(1, mask.max() + 1):
            assert (mask == sprite).sum() >= 10
            assert len(np.unique(image[:, mask == sprite], axis=1).T) == 1
    assert set(counts) >= {2, 3, 4, 5}
    assert max(counts) == 5
    assert np.mean(np.array(counts) < 2) < 0.05, "hardly ever is all but one hidden"


def test_sprites_fill_the_circle_around_them_and_never_leave_it() -> None:
    stamps = stamps_of(64)
    assert stamps.shape == (720, 29, 29)
    y, x = torch.meshgrid(torch.arange(-14, 15), torch.arange(-14, 15), indexing="ij")
    assert not stamps[:, (y**2 + x**2) > 14.5**2].any()
    largest = stamps.view(3, 6, 40, 29, 29)[:, -1].flatten(2).sum(dim=2)
    assert (largest > 350).all()
    assert torch.equal(stamps[0], stamps[0].flip(1)), "an oval lies level"
    assert not torch.equal(stamps[240], stamps[240].flip(0)), "a heart has a tip"


def test_colours_from_hue_saturation_and_value_are_those_of_the_standard_library() -> None:
    from colorsys import hsv_to_rgb

    hsv = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    for found, given in zip(rgb_of(hsv).tolist(), hsv.tolist(), strict=True):
        assert found == pytest.approx(hsv_to_rgb(*given), abs=1e-5)


@pytest.mark.parametrize("name", ["shapes", "tetrominoes", "sprites"])
def test_the_first_scenes_are_the_same_however_many_are_made_and_other_seeds_and_splits_differ(name: str) -> None:
    few, many = (made(name, count) for count in (7, CHUNK + 3))
    assert all(np.array_equal(one, other[:7]) for one, other in zip(few, many, strict=True))
    assert not np.array_equal(many[0][:3], many[0][CHUNK:]), "another chunk"
    for other in (made(name, 7, scene_seed=1), made(name, 7, "val"), made(name, 7, "train")):
        assert not np.array_equal(few[0], other[0])
    with pytest.raises(UserError, match="unknown split"):
        DATA.build(name, {}, "evaluation")


def test_sizes_are_options_where_they_make_sense() -> None:
    assert made("shapes", 5, size=24)[1].shape == (5, 24, 24)
    assert made("sprites", 5, size=32)[1].shape == (5, 32, 32)
    with pytest.raises(UserError, match="size=17"):
        DATA.build("shapes", {"size": 17}, "test")
