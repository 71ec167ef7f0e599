import pytest
import torch
from safetensors import safe_open

from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.representation.features import split_features
from sslkuramoto.evaluation.representation.linear import LinearProbe
from sslkuramoto.randomness import generator


@pytest.fixture
def sets(some_set):
    # 30 images in batches of 8: the last batch is short
    return {"test": some_set(30), "train": some_set(30, split="train")}


def cached(subject):
    return sorted((subject.run_dir / "cache").iterdir())


def test_every_sample_counts_once_and_in_order(cnn, subject_of, sets):
    subject = subject_of(cnn, data=sets.__getitem__, batch_size=8)
    features = split_features(subject, "test")
    whole = cnn[0](sets["test"].images / 255).pooled
    torch.testing.assert_close(features.values, whole[None].detach())
    assert torch.equal(features.labels, sets["test"].labels)


def test_features_are_extracted_once(cnn, subject_of, sets):
    subject = subject_of(cnn, data=sets.__getitem__, batch_size=8)
    cnn[0].calls = 0
    first = split_features(subject, "test")
    second = split_features(subject, "test")
    assert cnn[0].calls == 4
    assert torch.equal(first.values, second.values)
    assert [path.suffix for path in cached(subject)] == [".safetensors"], "a temporary file is left"


def test_a_truncated_cache_is_made_again(cnn, subject_of, sets):
    subject = subject_of(cnn, data=sets.__getitem__)
    first = split_features(subject, "test")
    (path,) = cached(subject)
    for size in (0, 5, path.stat().st_size // 2):
        path.write_bytes(path.read_bytes()[:size])
        assert torch.equal(split_features(subject, "test").values, first.values)
    with safe_open(path, framework="pt") as file:
        assert file.get_tensor("features").shape == first.values.shape


def test_another_encoder_seed_data_or_draw_count_has_its_own_cache(noisy, subject_of, sets, some_set):
    parts = {"data": sets.__getitem__}
    first = split_features(subject_of(noisy, **parts), "test", draws=20)
    other = some_set(30)
    renamed = MemorySet("random", "test", other.classes, other.labels, 8, "another", other.images)
    calls = noisy[0].calls
    split_features(subject_of(noisy, **parts, encoder_hash="1" * 64), "test", draws=20)
    split_features(subject_of(noisy, **parts, seed=1), "test", draws=20)
    split_features(subject_of(noisy, data={"test": renamed}.__getitem__), "test", draws=20)
    more = split_features(subject_of(noisy, **parts), "test", draws=21)
    assert noisy[0].calls == calls + 20 + 20 + 20 + 21
    assert torch.equal(more.values[:20], first.values), "more draws extend the same draws"


def test_draw_k_comes_from_its_own_generator(noisy, subject_of, sets):
    subject = subject_of(noisy, data=sets.__getitem__, batch_size=64, seed=3)
    features = split_features(subject, "test", draws=20).values
    assert features.shape == (20, 30, 24)
    again = noisy[0](sets["test"].images / 255, draw=generator("cpu", 3, "features", "test", 7)).pooled
    torch.testing.assert_close(features[7], again.detach())
    assert not torch.equal(features[0], features[1])


def test_a_cache_that_cannot_be_written_costs_no_measurement(cnn, subject_of, sets):
    lines = []
    subject = subject_of(cnn, data=sets.__getitem__, report=lines.append)
    subject.run_dir.mkdir()
    (subject.run_dir / "cache").write_text("a file where the folder should be")
    assert split_features(subject, "test").values.shape == (1, 30, 24)
    assert "features are not cached" in lines[-1]


def test_unlabelled_and_empty_splits_are_refused(cnn, subject_of, some_set):
    bare = some_set(4, labelled=False)
    with pytest.raises(UserError, match="linear needs labels: data 'random', split 'test'"):
        LinearProbe()(subject_of(cnn, data=lambda split: bare))
    with pytest.raises(UserError, match="is empty"):
        LinearProbe()(subject_of(cnn, data=lambda split: some_set(0)))


def test_fewer_than_twenty_draws_of_a_stochastic_encoder_are_refused(noisy, subject_of, sets):
    with pytest.raises(UserError, match="draws=5"):
        split_features(subject_of(noisy, data=sets.__getitem__), "test", draws=5)
