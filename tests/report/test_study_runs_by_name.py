"""Options that name a run of a study read alike on every machine."""

import json
from pathlib import Path

from sslkuramoto.report.tables.study import result_of


def test_run_directories_of_studies_in_options_are_called_by_their_names(tmp_path: Path):
    run = "digits-akorn-simclr-0123456789ab-abcdef"
    options = {"attacks": [{"name": "transfer", "run": f"/somewhere/else/runs/{run}"}], "ledger": "/kept/as/it/is"}
    file = tmp_path / "result.json"
    content = {"protocol": "robustness", "options": options, "metrics": {}, "data": {}, "encoder": {}, "seconds": 1.0}
    file.write_text(json.dumps(content | {"notes": []}))
    found = result_of(file).options
    assert found == {"attacks": [{"name": "transfer", "run": run}], "ledger": "/kept/as/it/is"}
