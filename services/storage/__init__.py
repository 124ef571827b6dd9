"""PostgreSQL and Valkey: pool, migrations, the event log, kept answers, pages."""
