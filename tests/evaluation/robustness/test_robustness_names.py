"""Names of ways and attacks become parts of file names: what cannot be one is refused when the protocol is built."""

import pytest

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS

CE = {"name": "autoattack", "member": "apgd-ce", "iterations": 6}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": {"../x": {}}}, r"ways='../x': is used in file names, but must not contain / or "),
        ({"ways": {"x" * 101: {}}}, "ways='xxx.*: is used in file names, but has 101 bytes, at most 100"),
        ({"ways": {" ": {}}}, "ways=' ': is used in file names, but is empty"),
        (
            {"attacks": [CE | {"label": ".."}]},
            "attacks: label='..': is used in file names, but must .* begin with a dot",
        ),
        (
            {"attacks": [{"name": "pgd", "label": "y" * 300}]},
            "attacks: label='yyy.*: is used in file names, but has 300 bytes",
        ),
        (
            {"attacks": [{"name": "pgd", "label": "a\nb"}]},
            "is used in file names, but contains characters that cannot be printed",
        ),
    ],
)
def test_names_that_cannot_be_files_are_refused_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        PROTOCOLS.build("robustness", {"attacks": [CE], **options})
    assert "\n" not in str(caught.value)
