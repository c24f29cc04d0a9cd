"""Whether a run's release may leave, and what it tells: the gates, the recount, risk and utility of the files as written."""
