//! Sealing values for one place: they open there and nowhere else, for the operator alone.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_keys::intake::InputContext;

use crate::{pins::Trusted, random, values::Values};

/// Where the values go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) connection: &'a str,
    pub(crate) owner: &'a str,
}

/// `sealedData`, by item.
pub(crate) fn seal(to: &Trusted, place: &Place<'_>, values: &Values) -> BTreeMap<String, String> {
    let mut rng = random();
    let mut sealed = BTreeMap::new();
    for (item, value) in values {
        let context = InputContext {
            vault_id: to.id,
            namespace: place.namespace,
            connection: place.connection,
            owner: place.owner,
            item,
        };
        sealed.insert(item.clone(), STANDARD.encode(to.intake.seal(&context, value.expose(), &mut rng)));
    }
    sealed
}
