"""Speed and quality, side by side with peers; never in the test suite."""
