-- Who may see what: the database keeps tenants apart, whatever a query forgets.
--
-- galena_app       the application's login; owns nothing; sees the tenant its transaction names
-- galena_operator  a hat the application puts on (SET ROLE) to list, add and remove tenants;
--                  it sees crm.tenants and no tenant's data
-- galena_reader    what the logins handed to outside readers have in common; each is bound to its
--                  tenant by a row of crm.readers, not by a setting that it could change
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'galena_app') THEN
    CREATE ROLE galena_app NOLOGIN NOINHERIT;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'galena_operator') THEN
    CREATE ROLE galena_operator NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'galena_reader') THEN
    CREATE ROLE galena_reader NOLOGIN;
  END IF;
END $$;
GRANT galena_operator TO galena_app;

-- After a transaction a custom setting reads '' and not NULL.
CREATE FUNCTION crm.current_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
  RETURN nullif(current_setting('galena.tenant_id', true), '');

-- session_user is the login: SET ROLE does not change it, and only a superuser can.
CREATE FUNCTION crm.reader_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  BEGIN ATOMIC
    SELECT tenant_id FROM crm.readers WHERE role_name = session_user;
  END;

DO $$
DECLARE
  tenant_table regclass;
BEGIN
  FOR tenant_table IN
    SELECT c.oid FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
    WHERE c.relnamespace IN ('crm'::regnamespace, 'ml'::regnamespace) AND c.relkind IN ('r', 'p')
  LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('CREATE POLICY tenant ON %s TO galena_app '
                   'USING (tenant_id = (SELECT crm.current_tenant()))', tenant_table);
  END LOOP;
  FOREACH tenant_table IN ARRAY
    ARRAY['ml.models', 'ml.model_factors', 'ml.lead_scores', 'ml.lead_score_history',
          'ml.score_rankings']::regclass[]
  LOOP
    EXECUTE format('CREATE POLICY reader ON %s FOR SELECT TO galena_reader '
                   'USING (tenant_id = (SELECT crm.reader_tenant()))', tenant_table);
    EXECUTE format('GRANT SELECT ON %s TO galena_reader', tenant_table);
  END LOOP;
END $$;

CREATE POLICY operator ON crm.tenants TO galena_operator USING (true);
-- crm.reader_tenant() runs as the tables' owner, who is under the policies like anyone else.
CREATE POLICY owner ON crm.readers TO CURRENT_USER USING (true);

GRANT USAGE ON SCHEMA crm, ml, serving TO galena_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA crm, ml TO galena_app;
REVOKE INSERT, DELETE ON crm.tenants FROM galena_app;
REVOKE INSERT, UPDATE, DELETE ON crm.readers FROM galena_app;
-- So that a command can tell whether the schema is the one it needs.
GRANT SELECT ON alembic_version TO galena_app;
GRANT USAGE ON SCHEMA crm TO galena_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON crm.tenants TO galena_operator;
GRANT USAGE ON SCHEMA crm, ml, serving TO galena_reader;
DO $$
BEGIN
  EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO galena_app', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO galena_app, galena_reader', current_database());
END $$;
