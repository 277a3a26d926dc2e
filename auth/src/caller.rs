//! Who calls.

use std::{fmt, sync::Arc, time::SystemTime};

use arc_swap::ArcSwapOption;
use tidings::{access::Rights, message::Sender};
use tokio::sync::watch;

use crate::{Identity, policy::Current, quota::Account};

/// Who makes a call, for as long as it lasts. Cheap to clone.
#[derive(Clone)]
pub struct Caller(Arc<Inner>);

struct Inner {
    identity: Identity,
    rights: Source,
    expiry: Option<Expiry>,
    account: Option<Arc<Account>>,
    /// Whether anybody is asked who it is.
    is_asked: bool,
}

/// Until when a caller is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// From then on no more.
    pub at: SystemTime,
    /// Whose end that is.
    pub reason: Reason,
}

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its token, and with it the time that clocks may differ.
    Token,
    /// Its certificate.
    Certificate,
}

/// Where rights come from.
enum Source {
    /// The token says them, or nobody has to sign in.
    Fixed(Arc<Rights>),
    Policy {
        policy: Current,
        /// As the policy of that generation has them.
        known: ArcSwapOption<(u64, Arc<Rights>)>,
    },
}

impl Caller {
    /// A caller where nobody has to sign in: everything is allowed.
    pub fn unrestricted() -> Self {
        Self(Arc::new(Inner {
            identity: Identity::default(),
            rights: Source::Fixed(Arc::new(Rights::all())),
            expiry: None,
            account: None,
            is_asked: false,
        }))
    }

    /// The caller of a method that needs no rights: nothing is allowed.
    pub fn nobody() -> Self {
        Self::fixed(Identity::default(), Rights::default(), None)
    }

    pub(crate) fn fixed(identity: Identity, rights: Rights, expiry: Option<Expiry>) -> Self {
        let rights = Source::Fixed(Arc::new(rights));
        Self(Arc::new(Inner { identity, rights, expiry, account: None, is_asked: true }))
    }

    pub(crate) fn of_policy(identity: Identity, policy: Current, expiry: Option<Expiry>) -> Self {
        let rights = Source::Policy { policy, known: ArcSwapOption::empty() };
        Self(Arc::new(Inner { identity, rights, expiry, account: None, is_asked: true }))
    }

    /// The same, with the account of its subject.
    pub(crate) fn with_account(mut self, account: Arc<Account>) -> Self {
        // It was just made, so nobody else has it.
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.account = Some(account);
        }
        self
    }

    /// What its subject has taken; `None` where it has not signed in.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.0.account.as_ref()
    }

    /// As whom it acts: its token's `sub`, or else its certificate's name; `None` where it has not signed in.
    pub fn subject(&self) -> Option<&str> {
        self.0.identity.acts_as()
    }

    /// As whom it publishes.
    pub fn sender(&self) -> Sender<'_> {
        match self.subject() {
            Some(subject) => Sender::Subject(subject),
            None if self.0.is_asked => Sender::Anonymous,
            None => Sender::Unasked,
        }
    }

    /// All that is known of who it is.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// What it may do, now.
    pub fn rights(&self) -> Arc<Rights> {
        match &self.0.rights {
            Source::Fixed(rights) => Arc::clone(rights),
            Source::Policy { policy, known } => {
                let current = policy.load();
                if let Some(known) = &*known.load()
                    && known.0 == current.generation
                {
                    return Arc::clone(&known.1);
                }
                let rights = Arc::new(current.policy.rights(&self.0.identity));
                known.store(Some(Arc::new((current.generation, Arc::clone(&rights)))));
                rights
            }
        }
    }

    /// Changes when its rights may have; `None` where they can't.
    pub fn changes(&self) -> Option<watch::Receiver<u64>> {
        match &self.0.rights {
            Source::Fixed(_) => None,
            Source::Policy { policy, .. } => Some(policy.changes()),
        }
    }

    /// Until when it is believed; `None` where it has neither token nor certificate.
    pub fn expiry(&self) -> Option<Expiry> {
        self.0.expiry
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.0.expiry.is_some_and(|expiry| SystemTime::now() >= expiry.at)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.subject()).finish()
    }
}
