//! Where a membership may go: the diagram and the table, from the rows that every decision follows.

use coffer_policy::{
    MemberState,
    membership::{TABLE, Transition},
};
use std::fmt::Write as _;

const OPENING: &str = "\
<!-- Generated from `policy/src/membership.rs` by `make generate`; do not edit. -->
# Where a membership stands

`VaultMember.status.phase`, and what brings it from one to the next. Operator, webhook, broker and command line follow the
table of this page itself; what is not in it does not happen. From every phase a membership ends when its VaultMember is
deleted: by the member itself, or by whoever may `invite` and holds its role.

";

/// The page.
pub(crate) fn page() -> String {
    let mut page = OPENING.to_owned();
    page.push_str("```mermaid\nstateDiagram-v2\n");
    for Transition { from, event, to, .. } in &TABLE {
        let _ = writeln!(page, "    {} --> {}: {}", from.map_or("[*]", name), name(*to), event.word());
    }
    page.push_str("```\n\n| from | by | to | who | when |\n| --- | --- | --- | --- | --- |\n");
    for Transition { from, event, to, who, condition } in &TABLE {
        let from = from.map_or_else(|| "none".to_owned(), |from| format!("`{}`", name(from)));
        let _ =
            writeln!(page, "| {from} | {} | `{}` | {} | {condition} |", event.word(), name(*to), who.words());
    }
    page
}

/// As the API writes it.
fn name(state: MemberState) -> &'static str {
    match state {
        MemberState::Invited => "Invited",
        MemberState::Accepted => "Accepted",
        MemberState::Active => "Active",
        MemberState::Declined => "Declined",
        MemberState::Suspended => "Suspended",
        MemberState::Expired => "Expired",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_an_arrow_of_the_diagram_and_a_line_of_the_table() {
        let page = page();
        assert_eq!(page.lines().filter(|line| line.contains(" --> ")).count(), TABLE.len());
        let rows = page.lines().filter(|line| line.starts_with("| ")).count();
        assert_eq!(rows, TABLE.len() + 2, "a heading, a rule, and the rows");
        assert!(page.contains("    Accepted --> Active: record\n"));
    }
}
