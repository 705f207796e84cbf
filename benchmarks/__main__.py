"""Runs every benchmark in a process of its own; fails when one does."""

import pkgutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NOT_BENCHMARKS = {
    "__main__",
    "ab_tests_laws",
    "ab_tests_ways",
    "guards_injection",
    "guards_injection_corpus",
    "guards_injection_sets",
    "guards_injection_training",
    "guards_pii",
    "llm_cache",
    "llm_installation",
    "llm_limits",
    "llm_overhead",
    "llm_paraphrases",
    "llm_ways",
    "llm_workload",
    "plain_rescoring",
    "plain_scoring",
    "reporting",
    "rescoring_installation",
    "rescoring_measurement",
    "rescoring_training",
}

names = [
    m.name
    for m in pkgutil.iter_modules([str(HERE)])
    if m.name not in NOT_BENCHMARKS and not m.name.startswith("model_quality_")
]
failed = [
    name
    for name in names
    if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]).returncode
]
sys.exit(f"failed: {', '.join(failed)}" if failed else None)
