//! Who somebody is, by what they signed in with.

/// Who somebody is. Without a subject and a certificate it is nobody who has signed in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The `sub` of a token.
    pub subject: Option<String>,
    /// Its groups.
    pub groups: Vec<String>,
    /// The name of a client certificate.
    pub certificate: Option<String>,
}

impl Identity {
    /// As whom it acts: the token's subject, or else the certificate's name. A service may bring the tokens of those it
    /// acts for over its own certificate. `None` where it has not signed in.
    pub fn acts_as(&self) -> Option<&str> {
        self.subject.as_deref().or(self.certificate.as_deref())
    }
}
