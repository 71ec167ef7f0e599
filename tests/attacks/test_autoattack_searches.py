"""The loops of AutoAttack for deterministic networks: projections by brute force, no query twice, groups of targets."""

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_projections import projection_linf
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack

from sslkuramoto.attacks import pass_size
from sslkuramoto.attacks.autoattack_apgd import LeavingApgd, LeavingApgdTargeted
from sslkuramoto.attacks.autoattack_fab import BatchedFab, projected_linf
from sslkuramoto.attacks.autoattack_square import BatchedSquare
from sslkuramoto.attacks.counting import counted
from sslkuramoto.classifier import Classifier, frozen

COMMON = {"norm": "Linf", "seed": 3, "verbose": False, "device": torch.device("cpu")}


@pytest.fixture
def case(cnn, digits):
    classifier = Classifier(*cnn)
    return classifier, digits["test"].images[:12] / 255, digits["test"].labels[:12].clone()


def of_both(theirs, ours, case, **settings):
    """Return what both make of the images, and the passes of single images that both took."""
    classifier, images, labels = case
    found, taken = [], []
    for kind in (theirs, ours):
        with counted(classifier.encoder) as count, frozen(classifier), torch.no_grad(), torch.random.fork_rng():
            found.append(kind(classifier, **COMMON, **settings).perturb(images.clone(), labels.clone()).detach())
        taken.append(count.all)
    return found, taken


def test_a_projection_reaches_its_hyperplane_and_no_smaller_change_does():
    draw = torch.Generator().manual_seed(0)
    points, slope = torch.rand(40, 6, generator=draw).double(), torch.randn(40, 6, generator=draw).double()
    moved = torch.rand(40, 6, generator=draw).double()  # of [0,1], so the hyperplane can be reached
    offset = (slope * moved).sum(1)
    change = projected_linf(points, slope, offset)
    assert ((points + change) > -1e-6).all()
    assert ((points + change) < 1 + 1e-6).all()
    torch.testing.assert_close((slope * (points + change)).sum(1), offset, rtol=0, atol=1e-5)
    size = change.abs().amax(dim=1, keepdim=True)
    towards = torch.where((slope * points).sum(1) > offset, -1.0, 1.0)[:, None] * slope.sign()
    most = (points + 0.999 * size * towards).clamp(0, 1)  # the farthest that a smaller change goes
    assert (((slope * most).sum(1) - offset) * ((slope * points).sum(1) - offset) > 0).all()


@pytest.mark.parametrize("pixels", [5, 64, 192])
def test_a_projection_is_that_of_pyautoattack(pixels):
    draw = torch.Generator().manual_seed(pixels)
    points, slope = torch.rand(60, pixels, generator=draw), torch.randn(60, pixels, generator=draw)
    points[torch.rand(60, pixels, generator=draw) < 0.3] = 0
    slope[torch.rand(60, pixels, generator=draw) < 0.1] = 0
    slope[0] = 0
    offset = (slope * points).sum(1) + 3 * torch.randn(60, generator=draw)
    theirs = projection_linf(points, slope, offset)
    torch.testing.assert_close(projected_linf(points, slope, offset), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("most", [1, 12, 200])
def test_square_asks_in_batches_of_any_size_what_pyautoattack_asks_and_never_more(case, monkeypatch, most):
    monkeypatch.setitem(pass_size.MOST, "cpu", most)
    settings = {"eps": 0.05, "n_queries": 150, "p_init": 0.8}
    (theirs, ours), (before, after) = of_both(SquareAttack, BatchedSquare, case, **settings)
    assert torch.equal(ours, theirs)
    assert after <= before


def test_square_asks_no_square_twice_at_one_point(case):
    """Where no query improves anything, there are 8 signs at (8 - s)^2 places of each side s, and the first point."""
    classifier, images, _ = case
    for parameter in classifier.encoder.parameters():
        parameter.data.zero_()  # constant logits
    asked = []
    classifier.encoder.register_forward_pre_hook(lambda _, given: asked.append(len(given[0])))
    search = BatchedSquare(classifier, **COMMON, eps=0.1, n_queries=4000, p_init=0.8, resc_schedule=False)
    search.init_hyperparam(images)
    with torch.no_grad(), torch.random.fork_rng():
        search.attack_single_run(images[:1], classifier.head.bias.argmax()[None])
    assert 500 < sum(asked) <= 1 + 8 * sum((8 - side) ** 2 for side in (7, 6, 5, 4, 3, 2, 1))


@pytest.mark.parametrize(("norm", "most"), [("Linf", 1), ("Linf", 24), ("Linf", 200), ("L2", 24)])
def test_targets_that_share_a_batch_are_attacked_as_one_after_the_other(case, monkeypatch, most, norm):
    monkeypatch.setitem(pass_size.MOST, "cpu", most)
    monkeypatch.setitem(COMMON, "norm", norm)
    classifier, images, labels = case
    eps = 0.05 if norm == "Linf" else 0.4
    for theirs, ours in ((FABAttack_PT, BatchedFab), (APGDAttack_targeted, LeavingApgdTargeted)):
        own = {"targeted": True} if ours is BatchedFab else {}
        found, _ = of_both(theirs, ours, case, eps=eps, n_iter=8, n_target_classes=4, **own)
        broken = [classifier(each).argmax(1) != labels for each in found]
        assert torch.equal(*broken)
        assert 0 < broken[0].sum() < len(labels)
        if ours is BatchedFab:
            torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-6)
        assert torch.equal(found[1][~broken[1]], images[~broken[1]])


def test_an_image_leaves_apgd_at_its_first_mistake(case):
    (theirs, ours), (before, after) = of_both(APGDAttack, LeavingApgd, case, eps=0.2, n_iter=40, loss="ce")
    classifier, _, labels = case
    assert (classifier(theirs).argmax(1) != labels).all()
    assert (classifier(ours).argmax(1) != labels).all()
    assert after < 0.4 * before


def test_rows_of_a_pass_fill_half_of_the_free_memory(case, monkeypatch):
    classifier, images, _ = case
    row = (pass_size.memory_of(classifier.encoder, images, 5) - pass_size.memory_of(classifier.encoder, images, 3)) // 2
    kept = images[0].numel() + 12 * 8 * 8  # floats that two convolutions and a maximum need, at least
    assert row >= 4 * kept
    for fitting, rows in ((1, 1), (5, 4), (64, 64), (10**6, pass_size.MOST["cpu"])):
        monkeypatch.setattr(pass_size, "free_memory", lambda _, fitting=fitting: 2 * fitting * row)
        pass_size._FOUND.clear()
        assert pass_size.rows_of_a_pass(classifier.encoder, images) == rows


def test_out_of_memory_halves_the_rows_for_good(case):
    classifier, images, _ = case
    tried = []

    def work(rows):
        tried.append(rows)
        if rows > 30:
            raise torch.OutOfMemoryError
        return rows

    pass_size._FOUND.clear()
    assert pass_size.with_rows(classifier.encoder, images, work) == 16
    assert tried == [128, 64, 32, 16]
    assert pass_size.rows_of_a_pass(classifier.encoder, images) == 16
    with pytest.raises(torch.OutOfMemoryError):
        pass_size.with_rows(classifier.encoder, images, lambda rows: work(31))
    pass_size._FOUND.clear()
