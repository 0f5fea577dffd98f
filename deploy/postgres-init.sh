#!/bin/sh
# Runs once, as the superuser, when the database is made: the application's role owns its database and nothing more, so
# that row-level security binds it.
set -eu
psql --username "$POSTGRES_USER" --dbname postgres --set ON_ERROR_STOP=1 --set password="$MIA_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE mia LOGIN PASSWORD :'password' NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB;
CREATE DATABASE mia OWNER mia;
\connect mia
CREATE EXTENSION IF NOT EXISTS vector;
SQL
