-- Which calls an act of the audit log was about, where its `object` does not name them: an act on many jobs at once.

CREATE TABLE acts_on_calls (
    call_id  uuid NOT NULL,
    audit_id bigint NOT NULL REFERENCES audit_log (id) ON DELETE CASCADE,
    PRIMARY KEY (call_id, audit_id)
);
CREATE INDEX acts_on_calls_audit ON acts_on_calls (audit_id);
