"""The privacy engine beside ARX: what is lost, how long it takes, what it holds in memory. `python -m benchmarks.privacy --help`."""
