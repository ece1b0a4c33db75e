-- The table of users, with a trigger that tells all listeners of each change.
-- psql -v rows=1000 -f schema.sql

CREATE TABLE IF NOT EXISTS users (
  id bigint PRIMARY KEY,
  name text NOT NULL,
  email text NOT NULL,
  about text NOT NULL
);

INSERT INTO users
SELECT id, 'User ' || id, 'user' || id || '@example.org', 'Likes the number ' || id || ', and ' || repeat('tea, ', (id % 20)::int)
FROM generate_series(1, :rows) AS id
WHERE NOT EXISTS (SELECT FROM users);

-- PostgreSQL sends notifications after the commit, in the order of the commits, and only once new
-- queries see the change. A changed id is two changes. A TRUNCATE names no rows, so its
-- notification has no id.
CREATE OR REPLACE FUNCTION notify_users_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM pg_notify('users_changed', '');
  END IF;
  IF TG_OP IN ('UPDATE', 'DELETE') THEN
    PERFORM pg_notify('users_changed', OLD.id::text);
  END IF;
  IF TG_OP IN ('INSERT', 'UPDATE') THEN
    PERFORM pg_notify('users_changed', NEW.id::text);
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER users_changed AFTER INSERT OR UPDATE OR DELETE ON users
  FOR EACH ROW EXECUTE FUNCTION notify_users_changed();
CREATE OR REPLACE TRIGGER users_truncated AFTER TRUNCATE ON users
  FOR EACH STATEMENT EXECUTE FUNCTION notify_users_changed();
