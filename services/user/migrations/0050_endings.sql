-- Concurrently: each process that starts reads page by page what has ended access tokens lately. An event's id
-- says when it was written, so that the last quarter of an hour is one range of it.

CREATE INDEX CONCURRENTLY events_endings_idx ON events (event_id)
 WHERE type IN ('SessionEnded', 'UserDeleted')
    OR (type = 'UserUpdated' AND data -> 'changed_fields' ? 'roles');
