//! Who may do what. Pure: no clock, no I/O, no client; `now` and every fact are passed in.
//!
//! | module | question |
//! | --- | --- |
//! | [`identity`] | who is asking, and which memberships are theirs |
//! | [`membership`] | where a membership may go from where it stands |
//! | [`roles`] | what a role allows, and whether one role holds another |
//! | [`scope`] | which members a Connection is for |
//! | [`release`] | may this caller have these credentials (every door) |
//! | [`audit`] | may this caller look into the audit log of a vault |
//! | [`writes`] | may this author make this difference (webhook and operator) |
//! | [`break_glass`] | who may do what an owner may, without being a member |
//! | [`resolve`] | which Connection does a word mean |
//! | [`home`] | which vault does a Connection belong to |
//! | [`access`] | may Connections and pods be in this namespace |
//! | [`names`] | the names that operator and webhook must derive alike |

pub mod access;
pub mod audit;
pub mod break_glass;
#[cfg(test)]
mod fixtures;
pub mod home;
pub mod identity;
pub mod membership;
pub mod names;
pub mod release;
pub mod resolve;
pub mod roles;
pub mod scope;
pub mod writes;

pub use break_glass::BreakGlass;
pub use identity::{Caller, Evidence, MemberState, MemberView, memberships};
pub use names::owner_member_name;
pub use release::{Denial, Grant};
pub use roles::Role;
pub use scope::Scope;
pub use writes::Refusal;
