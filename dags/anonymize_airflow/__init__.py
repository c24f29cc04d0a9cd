"""The edge to Airflow: it opens runs, calls `anonymize.pipeline`, and decides nothing. Parsing stays light: the library's heavy parts are
imported within the tasks."""
