"""What the protocol counts, on scenes written down here and encoders whose maps are known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from sslkuramoto.attacks.counting import counted
from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.data.scenes.scene_set import ArrayMasks, SceneSet
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject, load_protocol
from sslkuramoto.evaluation.objects.metrics import fg_ari, mean_best_overlap
from sslkuramoto.examples import CLASSES, INSTANCES
from sslkuramoto.results import Result
from sslkuramoto.statistics import mean_interval

SIDE = 8


def scenes(masks: np.ndarray, classes: np.ndarray | None = None) -> SceneSet:
    """Return scenes whose images are their masks: each object has a colour of its own."""
    palette = torch.randint(0, 256, (256, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    layers = torch.from_numpy(np.where(masks < 0, 255, masks).astype(np.uint8))
    images = palette[layers.long()].permute(0, 3, 1, 2).contiguous()
    kinds, stacked = (INSTANCES,), layers[:, None]
    if classes is not None:
        kinds, stacked = (INSTANCES, CLASSES), torch.stack([layers, torch.from_numpy(classes.astype(np.uint8))], dim=1)
    held = MemorySet("made", "test", None, None, SIDE, "made", images)
    return SceneSet(held, ArrayMasks(stacked, kinds), torch.arange(len(masks)))


def quarters(*numbers: int) -> np.ndarray:
    """Return a mask whose quarters hold these numbers, row by row."""
    return np.kron(np.array(numbers).reshape(2, 2), np.ones((SIDE // 2, SIDE // 2), dtype=np.int64))


class Colours(Encoder):
    """The mean colour of each patch of two pixels; noise, if any, comes from the draw."""

    num_features = 3

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.noise, self.stochastic = noise, noise > 0

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        grid = F.avg_pool2d(images, 2) + 0.01
        if self.stochastic:
            grid = grid + self.noise * torch.randn(grid.shape, generator=draw)
        return Features(grid.mean(dim=(2, 3)), grid)


class Iterated(Colours):
    """A network whose map is that of the colours only after four iterations."""

    num_steps = (1,)

    def forward(self, images, *, initial=None, draw=None, trace=False, num_steps=None) -> Features:
        found = super().forward(images)
        return found if num_steps == 4 else Features(found.pooled, torch.ones_like(found.map))


@pytest.fixture
def measure(tmp_path: Path):
    def run(data: SceneSet, encoder: Encoder, *overrides: str, name: str = "objects", batch_size: int = 2) -> Result:
        subject = Subject(
            encoder=encoder,
            head=None,
            data=lambda split: data,
            device=torch.device("cpu"),
            run_dir=tmp_path,
            encoder_hash="0",
            batch_size=batch_size,
        )
        return load_protocol(name, list(overrides)).measure(subject)

    return run


MASKS = np.stack([quarters(0, 1, 2, 3), quarters(1, 1, 2, 0), quarters(0, 0, 5, 7), quarters(1, 2, 3, 4)])


@pytest.mark.parametrize("method", ["average", "kmeans"])
def test_clusters_that_are_the_objects_score_one(measure, method: str) -> None:
    result = measure(scenes(MASKS), Colours(), "clusters=4", f"method={method}")
    for metric in result.metrics.values():
        assert (metric.value, metric.low, metric.high, metric.n, metric.draws) == (1.0, 1.0, 1.0, 4, 1)
    assert result.metrics["fg_ari"].unit == "index"
    assert result.metrics["mbo"].unit == "fraction"
    assert set(result.metrics) == {"fg_ari", "mbo"}
    assert result.per_image == {"index": [0, 1, 2, 3], "fg_ari": [1.0] * 4, "mbo": [1.0] * 4}


def test_too_few_clusters_score_as_the_metrics_of_one_image_say(measure) -> None:
    result = measure(scenes(MASKS), Colours(), "clusters=1")
    whole = np.zeros((SIDE, SIDE), dtype=np.int64)
    wanted = [mean_best_overlap(mask, whole) for mask in MASKS]
    assert result.per_image["mbo"] == pytest.approx(wanted, abs=1e-6)
    assert result.per_image["fg_ari"] == [fg_ari(mask, whole) for mask in MASKS] == [0.0] * 4
    metric = result.metrics["mbo"]
    assert metric.value == pytest.approx(np.mean(wanted))
    assert (metric.low, metric.high) == pytest.approx(mean_interval(wanted, 0.0, 1.0))
    assert result.verdicts == ["mbo"]


def test_images_without_an_object_are_left_out_and_single_objects_out_of_fg_ari_and_both_are_counted(measure) -> None:
    masks = np.stack([quarters(0, 0, 0, 0), MASKS[0], quarters(0, 0, 0, 6), quarters(-1, 0, 0, -1), MASKS[1]])
    result = measure(scenes(masks), Colours(), "clusters=4")
    assert result.metrics["mbo"].n == 3
    assert result.metrics["fg_ari"].n == 2
    assert result.data["n"] == 5
    assert result.per_image == {"index": [1, 2, 4], "fg_ari": [1.0, None, 1.0], "mbo": [1.0] * 3}
    assert result.notes[1:] == [
        "images without an object, left out of all scores: 2 of 5",
        "images with a single object, left out of FG-ARI alone: 1 of 5",
    ]


def test_scenes_of_nothing_but_background_are_refused(measure) -> None:
    with pytest.raises(UserError, match="none of the 2 images holds an object"):
        measure(scenes(np.zeros((2, SIDE, SIDE), dtype=np.int64)), Colours(), "clusters=2")


def test_masks_of_classes_have_a_score_of_their_own(measure) -> None:
    classes = np.where(MASKS > 0, 1, 0)
    result = measure(scenes(MASKS, classes), Colours(), "clusters=4")
    wanted = [mean_best_overlap(each, np.where(mask < 0, 9, mask)) for each, mask in zip(classes, MASKS, strict=True)]
    assert result.per_image["mbo_class"] == pytest.approx(wanted, abs=1e-6)
    assert result.verdicts == ["mbo", "mbo_class"]  # studies compare both
    assert result.metrics["mbo"].value == 1.0


def test_a_stochastic_encoder_is_clustered_once_for_each_draw(measure) -> None:
    first, again = (measure(scenes(MASKS), Colours(0.3), "clusters=4", "draws=7") for _ in range(2))
    assert first.metrics == again.metrics
    metric = first.metrics["mbo"]
    assert metric.draws == 7
    assert metric.std_over_draws is not None
    assert metric.std_over_draws > 0
    assert metric.value == pytest.approx(np.mean(first.per_image["mbo"]), abs=1e-6)
    one = measure(scenes(MASKS), Colours(0.3), "clusters=4", "draws=1").metrics["mbo"]
    assert (one.draws, one.std_over_draws) == (1, 0.0)


def test_more_clusters_than_tokens_are_refused_in_one_line(measure) -> None:
    with pytest.raises(UserError, match=r"^clusters=17: must be at most 16, the tokens of a map of 4 x 4$"):
        measure(scenes(MASKS), Colours(), "clusters=17")
    assert measure(scenes(MASKS), Colours(), "clusters=17", "up_tile=2").metrics["mbo"].n == 4


def test_no_number_of_clusters_is_assumed(measure) -> None:
    with pytest.raises(UserError, match=r"objects needs a number of clusters: set clusters=K \(Tetrominoes 4"):
        measure(scenes(MASKS), Colours())


def test_data_without_masks_are_refused_before_they_are_read() -> None:
    data = scenes(MASKS).images

    with pytest.raises(UserError, match="objects needs masks: data digits gives none"):
        load_protocol("objects", ["clusters=2"]).measure.check_spec("data digits", data.spec)


def test_more_steps_reach_an_encoder_that_iterates_and_another_is_refused(measure) -> None:
    few = measure(scenes(MASKS), Iterated(), "clusters=4").metrics["mbo"].value
    many = measure(scenes(MASKS), Iterated(), "clusters=4", "num_steps=4").metrics["mbo"].value
    assert few < many == 1.0
    with pytest.raises(UserError, match=r"num_steps=4: this encoder does not iterate; must be null"):
        measure(scenes(MASKS), Colours(), "clusters=4", "num_steps=4")


def test_a_choice_of_images_says_which(measure) -> None:
    result = measure(scenes(MASKS), Colours(), "clusters=4", "images=2")
    assert len(result.per_image["index"]) == result.metrics["mbo"].n == result.data["n"] == 2
    with pytest.raises(UserError, match="images=5"):
        measure(scenes(MASKS), Colours(), "clusters=4", "images=5")


def test_the_first_scenes_are_stored_with_their_clusters(measure, tmp_path: Path) -> None:
    measure(scenes(MASKS), Colours(), "clusters=4", "store=3")
    stored = load_file(tmp_path / "results" / "images" / "objects.objects.safetensors")
    assert stored["index"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(stored["masks"].numpy(), MASKS[:3])
    assert stored["images"].shape == (3, 3, SIDE, SIDE)
    assert stored["colours"].shape == (3, 3, 4, 4)
    for mask, clusters in zip(MASKS, stored["clusters"].numpy(), strict=False):
        assert fg_ari(mask, clusters) == 1.0


def test_the_estimate_counts_every_pass(tmp_path: Path) -> None:
    data = scenes(MASKS)
    subject = Subject(
        encoder=Colours(0.1),
        head=None,
        data=lambda split: data,
        device=torch.device("cpu"),
        run_dir=tmp_path,
        encoder_hash="0",
    )
    protocol = load_protocol("objects", ["clusters=2", "draws=3", "up_tile=2"]).measure
    ((_, cost),) = protocol.estimate(subject)
    with counted(subject.encoder) as count:
        protocol(subject)
    assert cost.forward == count.all == 4 * 3 * 4 + 3, "one image of each draw tells the size of a map"


def test_the_interval_of_a_mean_is_the_normal_one_within_the_range_of_its_values() -> None:
    values = [0.2, 0.4, 0.9]
    low, high = mean_interval(values, 0.0, 1.0)
    half = 1.959964 * np.std(values, ddof=1) / 3**0.5
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    assert mean_interval([0.0, 0.0, 1.0], 0.0, 1.0)[0] == 0.0
    assert mean_interval([0.3], 0.0, 1.0) == (None, None)


@pytest.mark.parametrize("method", ["average", "kmeans"])
def test_each_point_of_the_curve_over_clusters_is_that_of_a_measurement_with_as_many(measure, method: str) -> None:
    masks = np.stack([quarters(0, 1, 2, 3), quarters(1, 1, 2, 0), quarters(0, 0, 0, 0), quarters(0, 0, 5, 7)])
    data, noisy = scenes(masks, np.where(masks > 0, masks % 2 + 1, 0)), Colours(noise=0.3)
    words = [f"method={method}", "draws=3"]
    whole = measure(data, noisy, "clusters=4", "cluster_counts=[9,2,4]", *words)
    alone = {k: measure(data, noisy, f"clusters={k}", *words) for k in (2, 4, 9)}
    curve = whole.details["objects"]["clusters"]
    assert [*curve] == [2, 4, 9]
    for k, result in alone.items():
        assert curve[k].keys() == result.metrics.keys() == {"fg_ari", "mbo", "mbo_class"}
        for name, metric in result.metrics.items():
            assert curve[k][name] == {"value": metric.value, "low": metric.low, "high": metric.high}
    assert whole.metrics == alone[4].metrics, "the number of clusters that is scored is that of clusters"
    assert whole.per_image == alone[4].per_image
    assert alone[4].details == {}
    assert len({result.metrics["mbo"].value for result in alone.values()}) == 3


def test_more_clusters_than_tokens_in_the_curve_are_one_line(measure) -> None:
    with pytest.raises(UserError, match=r"^cluster_counts=17: must be at most 16, the tokens of a map of 4 x 4$"):
        measure(scenes(MASKS), Colours(), "clusters=4", "cluster_counts=[3,17]")


class Other(Colours):
    """An encoder whose map is made by a function of that of :class:`Colours`."""

    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        found = super().forward(images)
        return Features(found.pooled, self.change(found.map))


@pytest.mark.parametrize(
    ("change", "shown"), [(lambda grid: None, "None"), (lambda grid: grid.mean(3), r"\[2, 3, 4\]")]
)
def test_an_encoder_without_a_map_is_one_line(measure, change, shown: str) -> None:
    with pytest.raises(
        UserError, match=rf"^objects needs the map of an encoder, \[b, c, h, w\]; this one returns {shown}$"
    ):
        measure(scenes(MASKS), Other(change), "clusters=4")


def test_a_map_that_is_not_square_is_clustered_and_not_up_tiled(measure) -> None:
    network = Other(lambda grid: grid.repeat_interleave(2, dim=2))
    assert measure(scenes(MASKS), network, "clusters=4").metrics["mbo"].value == 1.0
    with pytest.raises(UserError, match=r"^up_tile=2: must divide the side of a square patch; .* a map of 8 x 4$"):
        measure(scenes(MASKS), network, "clusters=4", "up_tile=2")


def test_equal_tokens_that_give_fewer_clusters_are_counted(measure) -> None:
    def note(network: Encoder, *overrides: str) -> str:
        return measure(scenes(MASKS), network, *overrides).notes[0]

    n, equal = len(MASKS), Other(torch.ones_like)
    usual = "clusters per image: agglomerative, average linkage"
    assert note(equal, "clusters=3") == f"3 {usual}; equal tokens gave fewer in {n} of {n} (images times draws)"
    assert note(equal, "clusters=1") == f"1 {usual}"
    assert note(Colours(0.3), "clusters=4", "draws=2") == f"4 {usual}"
