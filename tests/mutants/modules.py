"""The modules that decide, each with the tests that are nearest to it, and those further away that are asked next."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Nearby:
    nearest: tuple[str, ...]
    further: tuple[str, ...] = ()


MODULES = {
    "queueing/claims.py": Nearby(
        (
            *("tests/queueing/test_claims.py", "tests/queueing/test_unconfirmed.py"),
            *(
                "tests/queueing/test_priorities.py",
                "tests/queueing/test_dispatch.py",
                "tests/queueing/test_lost_answers.py",
            ),
        ),
        ("tests/queueing", "tests/jobs/providers/replicate/test_queue.py"),
    ),
    "queueing/dispatch.py": Nearby(
        (
            *("tests/queueing/test_passes_of_dispatch.py", "tests/queueing/test_refusals.py"),
            *("tests/queueing/test_dispatch.py", "tests/queueing/test_lost_answers.py"),
        ),
        ("tests/queueing/transfers", "tests/queueing", "tests/approvals/test_dispatch_guard.py"),
    ),
    "jobs/lifecycle.py": Nearby(
        ("tests/jobs/test_life_details.py", "tests/jobs/test_lifecycle.py"),
        ("tests/jobs", "tests/queueing/test_dispatch.py", "tests/queueing/transfers"),
    ),
    "jobs/sync/apply.py": Nearby(
        ("tests/jobs/sync/test_apply.py",),
        ("tests/jobs/sync", "tests/jobs/providers/replicate/test_sync.py", "tests/jobs/webhooks"),
    ),
    "jobs/webhooks/inbox.py": Nearby(
        ("tests/jobs/webhooks/test_bursts.py", "tests/jobs/webhooks/test_inbox.py"),
        ("tests/jobs/webhooks", "tests/jobs/test_no_secret_in_clear.py"),
    ),
    "jobs/webhooks/signatures.py": Nearby(
        ("tests/jobs/webhooks/test_signatures.py",), ("tests/jobs/webhooks/test_views.py",)
    ),
    "jobs/permissions.py": Nearby(
        ("tests/jobs/test_permissions.py",), ("tests/jobs/api", "tests/jobs/dashboard", "tests/test_strangers_walk.py")
    ),
    "cloudtrain_site/states.py": Nearby(("tests/cloudtrain_site/test_states.py",), ("tests/jobs/test_lifecycle.py",)),
    "cloudtrain_site/accounts/scopes.py": Nearby(
        ("tests/cloudtrain_site/accounts/test_scopes.py",), ("tests/jobs/api/test_key_views.py",)
    ),
    "jobs/organizations/service_accounts.py": Nearby(
        ("tests/jobs/organizations/test_service_accounts.py",), ("tests/jobs/organizations",)
    ),
    "jobs/organizations/removal.py": Nearby(("tests/jobs/organizations/test_removal.py",)),
    "cloudtrain_site/accounts/sso/claims.py": Nearby(
        ("tests/cloudtrain_site/accounts/sso/test_claims.py",), ("tests/cloudtrain_site/accounts/sso",)
    ),
    "cloudtrain_site/accounts/sso/tokens.py": Nearby(
        ("tests/cloudtrain_site/accounts/sso/test_tokens.py",), ("tests/cloudtrain_site/accounts/sso",)
    ),
    "cloudtrain_site/accounts/sso/linking.py": Nearby(
        ("tests/cloudtrain_site/accounts/sso/test_pages.py",), ("tests/cloudtrain_site/accounts/sso",)
    ),
    "cloudtrain_site/accounts/second_factor/demand.py": Nearby(
        ("tests/cloudtrain_site/accounts/second_factor/test_demand.py",), ("tests/cloudtrain_site/accounts",)
    ),
    "cloudtrain_site/accounts/remote_user.py": Nearby(("tests/cloudtrain_site/accounts/test_remote_user.py",)),
    "jobs/tags/tagging.py": Nearby(("tests/jobs/tags",)),
    "jobs/organizations/tags.py": Nearby(("tests/jobs/organizations/test_tags.py",), ("tests/jobs/tags",)),
    "jobs/organizations/discovered.py": Nearby(("tests/jobs/dashboard/settings/test_discovered.py",)),
    "approvals/expiry.py": Nearby(("tests/approvals/test_expiry.py",), ("tests/approvals",)),
    "approvals/reviewers.py": Nearby(
        (
            *("tests/approvals/test_reviewers.py", "tests/approvals/test_every_rule.py"),
            "tests/approvals/test_several_approvals.py",
        ),
        ("tests/approvals",),
    ),
    "queueing/policy.py": Nearby(("tests/queueing/test_policy.py",), ("tests/queueing",)),
    "cloudtrain_site/redaction.py": Nearby(
        ("tests/cloudtrain_site/test_redaction.py",),
        ("tests/cloudtrain_site/structured_logging", "tests/jobs/test_no_secret_in_clear.py"),
    ),
    "cloudtrain_site/events/store.py": Nearby(
        ("tests/cloudtrain_site/events/test_publish.py", "tests/cloudtrain_site/events/test_relay.py"),
        ("tests/cloudtrain_site/events",),
    ),
    "jobs/providers/progress.py": Nearby(
        (
            *("tests/jobs/providers/test_which_bar.py", "tests/jobs/providers/test_progress.py"),
            "tests/jobs/providers/test_trainers_logs.py",
        ),
        ("tests/jobs/curves/test_reading.py",),
    ),
    "approvals/rules/evaluation.py": Nearby(
        ("tests/approvals/rules/test_evaluation.py", "tests/approvals/rules/test_more_rules.py"),
        ("tests/approvals/rules", "tests/approvals/test_every_rule.py", "tests/approvals/test_intake.py"),
    ),
    "approvals/decisions.py": Nearby(
        (
            *("tests/approvals/test_decisions.py", "tests/approvals/test_several_approvals.py"),
            "tests/approvals/test_every_rule.py",
        ),
        ("tests/approvals",),
    ),
    "queueing/budgets/actions.py": Nearby(("tests/queueing/budgets/test_actions.py",), ("tests/queueing/budgets",)),
    "queueing/budgets/editing.py": Nearby(
        ("tests/queueing/api/test_budget_views.py", "tests/queueing/dashboard/test_budget_pages.py"),
        ("tests/queueing/budgets",),
    ),
    "queueing/budgets/held_back.py": Nearby(
        ("tests/queueing/dashboard/test_budget_pages.py",), ("tests/queueing/budgets",)
    ),
    "queueing/budgets/outlook.py": Nearby(("tests/queueing/budgets/test_outlook.py",), ("tests/queueing/budgets",)),
    "queueing/budgets/watch.py": Nearby(
        ("tests/queueing/budgets/test_watch.py", "tests/queueing/budgets/test_budgets.py"), ("tests/queueing/budgets",)
    ),
    "jobs/costs/estimates.py": Nearby(
        ("tests/jobs/costs/test_costs.py", "tests/jobs/costs/test_estimates.py"),
        ("tests/jobs/costs", "tests/jobs/configs", "tests/approvals"),
    ),
    "jobs/costs/pace.py": Nearby(("tests/jobs/costs/test_pace.py",), ("tests/jobs/costs/test_estimates.py",)),
    "jobs/configs/validations.py": Nearby(
        ("tests/jobs/configs/test_validations.py",),
        ("tests/jobs/costs/test_pace.py", "tests/jobs/costs/test_estimates.py"),
    ),
    "jobs/organizations/authority.py": Nearby(
        (
            *("tests/jobs/organizations/test_authority.py", "tests/jobs/organizations/test_members.py"),
            "tests/jobs/organizations/test_endings.py",
        ),
        ("tests/jobs/organizations", "tests/jobs/api/test_organizations.py"),
    ),
    "jobs/organizations/members.py": Nearby(
        ("tests/jobs/organizations/test_members.py",),
        ("tests/jobs/organizations", "tests/jobs/api/test_organizations.py"),
    ),
    "jobs/organizations/invitations.py": Nearby(
        ("tests/jobs/organizations/test_invitations.py",),
        ("tests/jobs/organizations", "tests/jobs/api/test_organizations.py"),
    ),
    "jobs/organizations/endings.py": Nearby(
        ("tests/jobs/organizations/test_endings.py",),
        ("tests/jobs/organizations", "tests/jobs/api/test_organizations.py"),
    ),
    "jobs/organizations/people.py": Nearby(
        ("tests/jobs/organizations/test_people.py",), ("tests/jobs/organizations", "tests/jobs/admin")
    ),
    "cloudtrain_site/audit/retention.py": Nearby(("tests/cloudtrain_site/audit/test_read_only.py",)),
    "cloudtrain_site/limits/brakes.py": Nearby(
        ("tests/cloudtrain_site/limits/test_brakes.py",), ("tests/cloudtrain_site/accounts/test_brakes.py",)
    ),
    "cloudtrain_site/accounts/browsers.py": Nearby(("tests/cloudtrain_site/accounts/test_brakes.py",)),
    "cloudtrain_site/accounts/sessions.py": Nearby(("tests/cloudtrain_site/accounts/test_sessions.py",)),
}
