"""The protocol ``objects`` measures scenes that its option names in place of those of the run."""

from pathlib import Path

import pytest
import torch

from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject, load_protocol
from sslkuramoto.evaluation.protocol import PROTOCOLS
from sslkuramoto.examples import Images

OTHERS = "scenes={name: tetrominoes, scenes: 4, scenes_test: 5}"


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject(
        encoder=ENCODERS.build("patch_akorn", ENCODERS.small("patch_akorn")).eval(),
        head=None,
        data=lambda split: pytest.fail("the data of the run were read"),
        device=torch.device("cpu"),
        run_dir=tmp_path,
        encoder_hash="0",
        remember_data=lambda: pytest.fail("facts about other data were recorded in the run"),
    )


def test_scenes_of_the_option_are_measured_and_the_data_of_the_run_are_not_read(subject: Subject) -> None:
    protocol = load_protocol("objects", ["clusters=3", "draws=2", "store=0", OTHERS])
    result = protocol.measure(subject)
    assert (result.data["name"], result.data["n"]) == ("tetrominoes", 5)
    assert len(result.per_image["mbo"]) == 5
    subject = protocol.measure.on(subject)
    assert subject.data("test") is subject.data("test"), "loaded once"
    subject.remember_data()


def test_a_run_on_images_without_masks_can_be_measured_on_scenes_that_have_them() -> None:
    with pytest.raises(UserError, match="needs masks"):
        load_protocol("objects", ["clusters=3"]).measure.check_spec("data image_folder", Images(16, 10))
    load_protocol("objects", ["clusters=3", OTHERS]).measure.check_spec("data image_folder", Images(16, 10))


@pytest.mark.parametrize(
    ("scenes", "said"),
    [
        ("{root: data/voc}", "needs the key 'name'"),
        ("{name: vocc, root: data/voc}", "voc"),
        ("{name: voc, rooot: data/voc}", "root"),
        ("{name: sudoku, side: 4}", "scenes"),
    ],
)
def test_a_wrong_source_is_refused_in_one_line_when_the_protocol_loads(scenes: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load_protocol("objects", ["clusters=3", f"scenes={scenes}"])
    assert "\n" not in str(caught.value)


def test_scenes_without_masks_are_refused(subject: Subject) -> None:
    protocol = PROTOCOLS.build("objects", {"clusters": 3, "scenes": {"name": "digits"}})
    with pytest.raises(UserError, match="objects needs masks: data digits gives none"):
        protocol(subject)
