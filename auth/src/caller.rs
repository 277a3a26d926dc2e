//! Who calls.

use std::{fmt, sync::Arc, time::SystemTime};

use arc_swap::ArcSwapOption;
use tidings::access::Rights;
use tokio::sync::watch;

use crate::{
    policy::{Current, Named},
    quota::Account,
};

/// Who makes a call, for as long as it lasts. Cheap to clone.
#[derive(Clone)]
pub struct Caller(Arc<Inner>);

struct Inner {
    named: Named,
    rights: Source,
    expiry: Option<SystemTime>,
    account: Option<Arc<Account>>,
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
        Self::fixed(Named::default(), Rights::all(), None)
    }

    /// The caller of a method that needs no rights: nothing is allowed.
    pub fn nobody() -> Self {
        Self::fixed(Named::default(), Rights::default(), None)
    }

    pub(crate) fn fixed(named: Named, rights: Rights, expiry: Option<SystemTime>) -> Self {
        Self(Arc::new(Inner { named, rights: Source::Fixed(Arc::new(rights)), expiry, account: None }))
    }

    pub(crate) fn of_policy(named: Named, policy: Current, expiry: Option<SystemTime>) -> Self {
        let rights = Source::Policy { policy, known: ArcSwapOption::empty() };
        Self(Arc::new(Inner { named, rights, expiry, account: None }))
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

    /// The `sub` of its token; `None` where it has not signed in.
    pub fn subject(&self) -> Option<&str> {
        self.0.named.subject.as_deref()
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
                let rights = Arc::new(current.policy.rights(&self.0.named));
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

    /// Until when it is believed; `None` where it has no token.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.0.expiry
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.subject()).finish()
    }
}
