import json
from dataclasses import replace

import pytest
import torch

from sslkuramoto.classifier import Classifier, predictions_over_draws
from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.corruptions import CORRUPTIONS, Corruptions, ImageDraws, corrupted
from sslkuramoto.evaluation.measurement import evaluate
from sslkuramoto.evaluation.protocol import Loaded
from sslkuramoto.noise_draws import accuracies

FEW = ("fog", "contrast", "gaussian_noise")


def test_a_plain_cnn_loses_more_at_each_severity(cnn, subject_of):
    """The mean effect of our own corruptions on digits, as the page of corruptions states it."""
    lines = []
    result = Corruptions(images=160)(subject_of(cnn, report=lines.append))
    accuracy = [result.metrics[f"accuracy_severity_{s}"].value for s in range(1, 6)]
    clean = result.metrics["clean_accuracy"].value
    assert clean > 0.9
    assert clean > accuracy[0]
    assert accuracy == sorted(accuracy, reverse=True)
    assert accuracy[4] < accuracy[0] - 0.1
    assert len(lines) == 15
    assert lines[0].startswith("1/15 gaussian_noise: ")
    mean = result.metrics["accuracy_mean"].value
    assert mean == pytest.approx(sum(accuracy) / 5)
    assert result.metrics["error_mean"].value == pytest.approx(1 - mean)
    assert result.metrics["relative_error_severity_5"].value == pytest.approx(clean - accuracy[4])
    table = result.details["corruptions"]
    assert list(table) == list(CORRUPTIONS)
    fifth = [row["5"] for row in table.values()]
    assert sum(cell["accuracy"] for cell in fifth) / 15 == pytest.approx(accuracy[4])
    assert sum(cell["ece"] for cell in fifth) / 15 == pytest.approx(result.metrics["ece_severity_5"].value)
    assert set(fifth[0]) == {"accuracy", "error", "ece"}


def test_accuracy_is_that_of_the_corrupted_images(noisy, subject_of, digits):
    result = Corruptions(corruptions=("snow",), severities=(3,), images=None)(subject_of(noisy))
    test = digits["test"]
    pixels, index = test.images.float() / 255, torch.arange(len(test))
    images = corrupted("snow", pixels, 3, ImageDraws(index, "cpu", "corruptions", 0, "snow"))
    found = predictions_over_draws(Classifier(*noisy), images.split(64), 20, "corruptions")
    wanted = accuracies(found, test.labels)["accuracy"]
    metric = result.metrics["accuracy_severity_3"]
    assert metric.value == pytest.approx(wanted.value)
    assert metric.std_over_draws == pytest.approx(wanted.std_over_draws)
    assert (metric.low, metric.high) == (pytest.approx(wanted.low), pytest.approx(wanted.high))
    assert metric.draws == 20
    shares = (found == test.labels).double().mean(dim=0)
    assert result.per_image["correct_severity_3"] == pytest.approx(shares.tolist(), abs=1e-6)


def test_the_two_figures_called_cc_are_never_mixed(cnn, subject_of):
    both = Corruptions(corruptions=FEW, images=50)(subject_of(cnn)).metrics
    fifth = Corruptions(corruptions=FEW, severities=(5,), images=50)(subject_of(cnn)).metrics
    assert {name for name in fifth if name.endswith("_mean")} == set()
    assert fifth["accuracy_severity_5"] == both["accuracy_severity_5"]
    assert both["accuracy_mean"].value != both["accuracy_severity_5"].value


def test_images_do_not_depend_on_run_seed_batch_or_other_corruptions(cnn, subject_of):
    whole = Corruptions(corruptions=FEW, images=60)(subject_of(cnn, batch_size=60, seed=1))
    part = Corruptions(corruptions=("gaussian_noise",), images=60)(subject_of(cnn, batch_size=7, seed=2))
    name = "gaussian_noise"
    for severity in "12345":
        one, other = (result.details["corruptions"][name][severity] for result in (whole, part))
        assert one["accuracy"] == other["accuracy"]
        assert one["ece"] == pytest.approx(other["ece"], abs=1e-3)
    other = Corruptions(corruptions=(name,), images=60, corruption_seed=1)(subject_of(cnn, seed=2))
    assert other.per_image["correct"] != part.per_image["correct"]


@pytest.mark.parametrize("initial", ["fixed", "fixed_per_image"])
def test_a_fixed_start_is_scored_by_one_draw(initial, noisy, subject_of):
    result = Corruptions(corruptions=FEW, severities=(1,), images=30, initial=initial)(subject_of(noisy))
    assert {metric.draws for metric in result.metrics.values()} == {1}
    assert result.initial == initial


def test_calibration_can_be_left_out(cnn, subject_of):
    result = Corruptions(corruptions=FEW, images=20, calibration=False)(subject_of(cnn))
    assert [name for name in result.metrics if "ece" in name] == []
    assert set(result.details["corruptions"]["fog"]["1"]) == {"accuracy", "error"}


def test_a_run_measured_against_itself_has_an_mce_of_100(cnn, subject_of):
    subject = subject_of(cnn)
    protocol = Loaded("corruptions", "corruptions", {}, Corruptions(corruptions=FEW, images=60))
    _, path = evaluate(subject, protocol, {})
    result = Corruptions(corruptions=FEW, images=60, baseline=str(path))(subject)
    assert result.metrics["mce"].value == pytest.approx(100)
    assert result.metrics["relative_mce"].value == pytest.approx(100)
    assert not any("other images" in note for note in result.notes)
    fewer = Corruptions(corruptions=FEW, images=50, baseline=str(path))(subject)
    assert any("baseline was measured on other images" in note for note in fewer.notes)
    noise = Corruptions(corruptions=FEW, images=60, baseline=str(path), corruption_seed=4)(subject)
    assert "the baseline has other noise: its corruption_seed is 0, here it is 4" in noise.notes
    assert set(json.loads(path.read_text())["details"]["corruptions"]["fog"]) == set("12345")


def test_a_corruption_that_breaks_the_network_is_named(cnn, subject_of):
    encoder, head = cnn
    encoder.register_forward_hook(
        lambda module, inputs, features: features._replace(
            pooled=features.pooled.where(inputs[0].mean(dim=(1, 2, 3))[:, None] < 0.55, torch.nan)
        )
    )
    with pytest.raises(UserError, match=r"^brightness at severity [2-5]: .*NaN or infinite, on \d+ of \d+ images"):
        Corruptions(corruptions=("contrast", "brightness"), images=60, calibration=False)(subject_of((encoder, head)))


def test_images_of_a_few_pixels_are_refused(cnn, subject_of, some_set):
    def of(size):
        return replace(some_set(20), size=size, images=some_set(20).images[..., :size, :size])

    for size in (1, 2, 3):
        with pytest.raises(UserError, match=rf"data.size={size}: corruptions need images of at least 4 pixels"):
            Corruptions(images=20)(subject_of(cnn, data=lambda split, size=size: of(size)))
    result = Corruptions(images=20, severities=(1, 5))(subject_of(cnn, data=lambda split: of(4)))
    assert len(result.details["corruptions"]) == 15


def test_other_sizes_are_said_to_be_ours(cnn, subject_of):
    at_32 = DATA.build("digits", {"size": 32, "limit_test": 20}, "test")
    notes = Corruptions(corruptions=("fog",), images=20)(subject_of(cnn, data=lambda split: at_32)).notes
    assert not any("pixels" in note for note in notes)
    notes = Corruptions(corruptions=("fog",), images=20)(subject_of(cnn)).notes
    assert "1 corruption, not the 15 of the published means: fog" in notes
    assert any(note.startswith("images of 8 pixels") for note in notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": ("fogg",)}, "unknown corruption 'fogg': did you mean 'fog'"),
        ({"corruptions": ("spatter",)}, r"spatter exists in the archives only \(source=archive\)"),
        ({"corruptions": ("fog", "fog")}, "fog is named twice"),
        ({"corruptions": ()}, "must name at least one"),
        ({"corruptions": "fog"}, r"^corruptions=fog: must be a list: did you mean corruptions=\[fog\]\?$"),
        ({"corruptions": "fog,snow"}, r"^corruptions=fog,snow: must be a list: did you mean .*=\[fog, snow\]\?$"),
        ({"severities": (0, 1)}, r"severities=\[0, 1\]: must be different numbers from 1 to 5"),
        ({"severities": (1, 1)}, "must be different numbers"),
        ({"severities": ()}, "must be different numbers"),
        ({"archive": "folder"}, "only source=archive reads one"),
        ({"source": "archive", "split": "val"}, "split=val: an archive contains test images"),
        ({"baseline": "x.json", "severities": (5,)}, "mCE is a mean over the severities 1 to 5"),
        ({"images": 0}, "images=0: must be >= 1"),
        ({"draws": 0}, "draws=0"),
    ],
)
def test_wrong_options_are_one_clear_line(options, message):
    with pytest.raises(UserError, match=message):
        Corruptions(**options)


def test_a_name_in_place_of_a_list_has_a_hint_at_the_command_line_too():
    with pytest.raises(UserError, match=r"did you mean corruptions=\[fog\]\?$"):
        PROTOCOLS.build("corruptions", {"corruptions": "fog"})
    assert PROTOCOLS.build("corruptions", {"corruptions": ["fog"]}).names == ("fog",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "nowhere.json"}, "baseline=nowhere.json: "),
        ({"source": "archive"}, "source=archive: needs archive=DIR"),
        ({"source": "archive", "archive": "nowhere"}, "archive=nowhere: no such folder"),
    ],
)
def test_an_estimate_needs_what_the_measurement_reads(options, message, cnn, subject_of):
    protocol = Corruptions(images=8, **options)
    for act in (protocol, protocol.estimate):
        with pytest.raises(UserError, match=f"^{message}"):
            act(subject_of(cnn))


def test_too_few_draws_and_missing_classifiers_are_refused(noisy, subject_of):
    with pytest.raises(UserError, match="at least 20"):
        Corruptions(draws=19)(subject_of(noisy))
    with pytest.raises(UserError, match="corruptions needs a classifier"):
        Corruptions()(subject_of((noisy[0], None)))
    with pytest.raises(UserError, match="images=400: data 'digits'"):
        Corruptions(images=400)(subject_of(noisy))
