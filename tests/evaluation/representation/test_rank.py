import pytest
import torch

from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.representation.features import split_values
from sslkuramoto.evaluation.representation.rank import alpha_req, rankme
from sslkuramoto.randomness import generator


def test_rankme_of_orthonormal_features_is_their_number():
    orthonormal = torch.linalg.qr(torch.randn(40, 8, generator=generator("cpu", "rank"), dtype=torch.float64)).Q
    assert rankme(orthonormal) == pytest.approx(8, rel=1e-4)
    assert rankme(3 * orthonormal) == pytest.approx(8, rel=1e-4), "scale does not count"


def test_rankme_of_one_direction_is_one_and_of_nothing_finite():
    ramp = torch.arange(1, 21.0)[:, None] * torch.ones(1, 6)
    assert rankme(ramp) == pytest.approx(1, abs=1e-3)
    assert rankme(torch.zeros(5, 3)) == pytest.approx(1, abs=1e-3)


def test_rankme_is_the_exponential_of_the_entropy_of_singular_values():
    features = torch.diag(torch.tensor([3.0, 1.0]))
    share = torch.tensor([0.75, 0.25], dtype=torch.float64) + 1e-7
    assert rankme(features) == pytest.approx(float((-(share * share.log()).sum()).exp()))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.5])
def test_alpha_req_of_a_power_law_is_its_exponent(alpha):
    d = 16
    scale = torch.arange(1, d + 1, dtype=torch.float64) ** (-alpha / 2)
    features = torch.cat([torch.diag(scale), -torch.diag(scale)])  # centred; eigenvalues 2 j^-alpha
    assert alpha_req(features) == pytest.approx(alpha)
    assert alpha_req(features + 7) == pytest.approx(alpha), "the mean does not count"


def test_the_protocol_needs_no_labels_and_counts_no_noise(noisy, subject_of, some_set):
    sets = {"test": some_set(30, labelled=False)}
    subject = subject_of(noisy, data=sets.__getitem__, batch_size=8)
    result = PROTOCOLS.build("rank", {})(subject)
    assert result.metrics["rankme"].draws == 20
    assert 1 <= result.metrics["rankme"].value <= 30
    values, _ = split_values(subject, "test", draws=20, shared_field=True)
    assert result.metrics["rankme"].value == pytest.approx(sum(map(rankme, values)) / 20)
    encoder = noisy[0]
    field = encoder.sample_initial(
        sets["test"].images[:1] / 255, generator("cpu", subject.seed, "one field", "test", 0)
    )
    alone = encoder(sets["test"].images / 255, initial=field).pooled
    torch.testing.assert_close(values[0], alone.detach())


def test_fewer_images_may_be_taken(cnn, subject_of, some_set):
    sets = {"test": some_set(30)}
    result = PROTOCOLS.build("rank", {"images": 5})(subject_of(cnn, data=sets.__getitem__))
    assert result.data["n"] == 5
    assert result.metrics["rankme"].value <= 5.001
