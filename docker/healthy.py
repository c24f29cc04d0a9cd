"""A health check without curl: succeeds where a URL answers 200, and, with a part's name, where Airflow says that the part is healthy."""

import json
import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=8) as answer:  # noqa: S310
    health = json.load(answer) if len(sys.argv) > 2 else {}
sys.exit(any(health[part]["status"] != "healthy" for part in sys.argv[2:]))
