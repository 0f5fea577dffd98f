"""Audit entries can be written and read; they change never, and go only with their business."""

from django.db import migrations

ADD_CASCADE = """
ALTER TABLE accounts_auditentry ADD CONSTRAINT accounts_auditentry_business_fk
    FOREIGN KEY (business_id) REFERENCES accounts_business (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
"""
DROP_CASCADE = "ALTER TABLE accounts_auditentry DROP CONSTRAINT accounts_auditentry_business_fk;"

# A cascade runs inside the trigger of the foreign key, one level deeper than a statement that somebody sent.
ADD_TRIGGER = """
CREATE FUNCTION accounts_refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND pg_trigger_depth() > 1 THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'Audit entries are append-only.' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER audit_entries_are_append_only BEFORE UPDATE OR DELETE ON accounts_auditentry
    FOR EACH ROW EXECUTE FUNCTION accounts_refuse_audit_change();
"""
DROP_TRIGGER = """
DROP TRIGGER audit_entries_are_append_only ON accounts_auditentry;
DROP FUNCTION accounts_refuse_audit_change();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_users_businesses_and_keys")]

    operations = [
        migrations.RunSQL(ADD_CASCADE, DROP_CASCADE),
        migrations.RunSQL(ADD_TRIGGER, DROP_TRIGGER),
    ]
