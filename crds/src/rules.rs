//! CEL rules that several kinds share.

/// Object names are DNS-1123 labels: the API server has checked that they are subdomains.
pub(crate) const NAME: &str = "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')";
/// What a name that is none is told.
pub(crate) const NAME_MESSAGE: &str =
    "metadata.name must be a DNS-1123 label: at most 63 lower-case letters, digits and '-', no dots";
