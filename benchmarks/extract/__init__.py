"""How fast records come out of a database, beside the fastest way that the database has itself."""
