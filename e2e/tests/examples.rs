//! The examples for CI agents, tool servers and developer teams: their papers, as they are written (C40).

use anyhow::{Result, ensure};
use e2e::guide::{self, Named};
use e2e::install;
use e2e::namespace::Namespace;

/// Types the example's paper; all of this must have been said, in whatever order, and no value.
async fn works(example: &str, people: &[Named<'_>], namespace: &str, expected: &[&str]) -> Result<()> {
    let cluster = install::installed().await?;
    // For the lock that tests share; the example makes its own namespace.
    Namespace::lend(&cluster, example, &[], async |_| {
        let page = format!("docs/examples/{example}/README.md");
        let told = guide::follow(&cluster, &page, people, &[namespace]).await?;
        for expected in expected {
            ensure!(told.contains(expected), "'{expected}' is not in: {told}");
        }
        for value in ["ghp_", "demo-"] {
            ensure!(!told.contains(value), "a value was shown: {told}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_ci_agent_builds_with_what_its_role_covers_and_nothing_else() -> Result<()> {
    let expected = [
        "agent\nalice\n",
        "Member 'agent' cannot read 'ci-github': Role 'agent' of member 'agent' does not allow 'read'",
        "the registry's password has 22 characters",
        "the GitHub token has 19 characters",
        "Role 'agent' of member 'agent' does not cover credential 'production-deploy'",
        "item token: new value",
        "the GitHub token has 27 characters",
        "Member 'agent' is on hold",
        "Credential 'ci-github' not found",
        "Member 'agent' is off hold",
        "\"connection\":\"coffer-ci-agent/ci-github\"\n\"connection\":\"coffer-ci-agent/ci-registry\"\n",
    ];
    works("ci-agent", &[("alice", &[])], "coffer-ci-agent", &expected).await
}

#[tokio::test]
async fn each_tool_server_of_a_pool_has_its_own_credentials_and_what_all_share() -> Result<()> {
    let expected = [
        "search: search-api tracing\ntickets: tickets-token tracing\nmail: mail-password tracing\n",
        "Credential 'tickets-token' is not accessible to member 'search'. Allowed: tickets",
        "calendar: calendar-token tracing\n",
        "gains: mail",
        "alice\nmail\ntickets\n",
        "Member 'mail' is removed from vault 'tools'.",
    ];
    works("tool-servers", &[("alice", &[])], "coffer-tools", &expected).await
}

#[tokio::test]
async fn a_developer_team_shares_staging_as_a_group_and_leaves_production_to_the_service() -> Result<()> {
    let people: [Named<'_>; 3] = [("alice", &[]), ("bob", &["payments-developers"]), ("dave", &[])];
    let expected = [
        "You are member 'developers' of vault 'payments' in namespace 'coffer-dev-team', with role 'developer'.",
        "alice\napi\ndevelopers\nalice\napi\n",
        "a password of 21 characters: [redacted]",
        "Role 'developer' of member 'developers' does not cover credential 'production-db'",
        "exit code 3",
        "24 /coffer/production-db/password",
        "\"member\":\"developers\"\n",
    ];
    works("developer-team", &people, "coffer-dev-team", &expected).await
}
