-- For a fresh PostgreSQL: one role and the two databases. Run once by its superuser `postgres`, with POSTGRES_PASSWORD
-- in the environment. Afterwards the superuser has no password: over the network nobody is superuser.
\set ON_ERROR_STOP on
\set password `printf %s "$POSTGRES_PASSWORD"`
CREATE ROLE semisup LOGIN PASSWORD :'password';
CREATE DATABASE mlflow OWNER semisup;
CREATE DATABASE prefect OWNER semisup;
ALTER ROLE postgres PASSWORD NULL;
