"""Triggers that let processes of 0.1.0 run beside newer ones on PostgreSQL. The release after 0.2.0 drops them.

0.1.0 knows one rule of a request, in columns of the request itself. Each trigger runs at the end of the transaction: by
then a newer version has written the requirements and what an approval counts for, and leaves it nothing to do.
"""

from cloudtrain_site.database.retired import on_postgresql

#: More approvals than any rule asks for: 0.1.0 can't decide a request of several rules, or one about a running job.
UNREACHABLE = 32767

REQUESTS = f"""
DECLARE
    only_one approvals_requirement;
    number bigint;
BEGIN
    SELECT count(*) INTO number FROM approvals_requirement WHERE request_id = NEW.id;
    IF number = 0 AND NEW.approvals_needed IS NOT NULL THEN
        INSERT INTO approvals_requirement (position, request_id, rule_id, rule_name, reason, reviewer_role,
            reviewer_group_id, approvals_needed, approvals_given, self_approval, expires_after_hours)
        SELECT 0, id, rule_id, rule_name, reason, CASE WHEN reviewer_group_id IS NULL THEN reviewer_role ELSE '' END,
            reviewer_group_id, approvals_needed,
            CASE WHEN status = 'approved' AND NOT bypassed THEN approvals_needed ELSE 0 END, self_approval,
            GREATEST(1, round(extract(epoch FROM expires_at - requested_at) / 3600))
        FROM approvals_approvalrequest WHERE id = NEW.id;
    ELSIF NEW.approvals_needed IS NULL THEN
        SELECT * INTO only_one FROM approvals_requirement WHERE request_id = NEW.id ORDER BY position LIMIT 1;
        UPDATE approvals_approvalrequest
        SET rule_id = only_one.rule_id, reviewer_group_id = only_one.reviewer_group_id,
            reviewer_role = COALESCE(NULLIF(only_one.reviewer_role, ''), 'admin'),
            self_approval = COALESCE(only_one.self_approval, false),
            approvals_needed = CASE WHEN number = 1 AND to_jsonb(NEW) ->> 'raise_to_usd' IS NULL
                THEN only_one.approvals_needed ELSE {UNREACHABLE} END
        WHERE id = NEW.id;
    END IF;
    RETURN NULL;
END"""

DECISIONS = """
DECLARE
    counted bigint;
BEGIN
    IF NEW.verdict = 'approve' AND NOT NEW.bypass
        AND NOT EXISTS (SELECT 1 FROM approvals_decision_counted_for WHERE decision_id = NEW.id)
        AND (SELECT count(*) FROM approvals_requirement WHERE request_id = NEW.request_id) = 1
    THEN
        UPDATE approvals_requirement SET approvals_given = approvals_given + 1
        WHERE request_id = NEW.request_id AND approvals_given < approvals_needed RETURNING id INTO counted;
        IF counted IS NOT NULL THEN
            INSERT INTO approvals_decision_counted_for (decision_id, requirement_id) VALUES (NEW.id, counted);
        END IF;
    END IF;
    RETURN NULL;
END"""

NOTICES = """
BEGIN
    INSERT INTO notices_notice (kind, key, subject, text, link, data, users, emails, organization_id, job_id,
        sealed_address, created_at, due_at, correlation_id)
    SELECT CASE NEW.kind WHEN 'asked' THEN 'approval_requested' WHEN 'half_time' THEN 'approval_reminder'
            WHEN 'last_call' THEN 'approval_reminder' ELSE 'approval_' || status END,
        'approval ' || id || ' ' || NEW.kind, NEW.kind, '', '',
        jsonb_build_object('approval_id', id, 'occasion', NEW.kind), '[]', '[]', organization_id, job_id,
        '', now(), NEW.due_at, NEW.correlation_id
    FROM approvals_approvalrequest WHERE id = NEW.request_id
    ON CONFLICT DO NOTHING;
    UPDATE approvals_notice SET done_at = now(), outcome = 'left to the newer version' WHERE id = NEW.id;
    RETURN NULL;
END"""


def trigger(table, name, body):
    return on_postgresql(
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
        f"CREATE CONSTRAINT TRIGGER {name} AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW EXECUTE FUNCTION {name}()",
        undo=(f"DROP TRIGGER IF EXISTS {name} ON {table}", f"DROP FUNCTION IF EXISTS {name}()"),
    )


requests = trigger("approvals_approvalrequest", "approvals_request_of_0_1", REQUESTS)
decisions = trigger("approvals_decision", "approvals_decision_of_0_1", DECISIONS)
notices = trigger("approvals_notice", "approvals_notice_of_0_1", NOTICES)

#: A migration of the release after 0.2.0 executes these statements, on PostgreSQL only.
DROP = (
    "DROP TRIGGER IF EXISTS approvals_request_of_0_1 ON approvals_approvalrequest",
    "DROP TRIGGER IF EXISTS approvals_decision_of_0_1 ON approvals_decision",
    "DROP TABLE IF EXISTS approvals_notice, queueing_limitchange",
    *(f"DROP FUNCTION IF EXISTS approvals_{of}_of_0_1()" for of in ("request", "decision", "notice")),
    *(
        f"ALTER TABLE approvals_approvalrequest DROP COLUMN IF EXISTS {column}"
        for column in ("rule_id", "reviewer_role", "reviewer_group_id", "approvals_needed", "self_approval")
    ),
)
