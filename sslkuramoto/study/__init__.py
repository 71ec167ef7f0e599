"""Studies: the papers' tables as files, computed cell by cell and printed beside the published figures.

study = load_study("NAME")
plan = plan_study(study, Path("runs/studies"))
run_plan(plan, jobs=2)
table = collect(study, Path("runs/studies"))
"""

from sslkuramoto.study.named import new_study, record_study, recorded_study, study_file, study_files
from sslkuramoto.study.paired import Comparison, McNemar, comparisons, mcnemar
from sslkuramoto.study.parse import Study, StudyColumn, StudyRow, StudyStage, load_study
from sslkuramoto.study.plan import Plan, plan_study
from sslkuramoto.study.published import Published
from sslkuramoto.study.run import run_plan
from sslkuramoto.study.table import SeedValue, StudyCell, StudyTable, collect

__all__ = [
    "Comparison",
    "McNemar",
    "Plan",
    "Published",
    "SeedValue",
    "Study",
    "StudyCell",
    "StudyColumn",
    "StudyRow",
    "StudyStage",
    "StudyTable",
    "collect",
    "comparisons",
    "load_study",
    "mcnemar",
    "new_study",
    "plan_study",
    "record_study",
    "recorded_study",
    "run_plan",
    "study_file",
    "study_files",
]
