#!/bin/sh
# Runs once, when the source's database is made: the road reads as a user that can do nothing else.
set -eu
psql --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set=reader="$SOURCE_READER_PASSWORD" <<'SQL'
CREATE ROLE anonymize_reader LOGIN PASSWORD :'reader';
ALTER ROLE anonymize_reader SET default_transaction_read_only = on;
GRANT USAGE ON SCHEMA public TO anonymize_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO anonymize_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO anonymize_reader;
SQL
