//! What is asked of every call before it begins, whatever protocol it came by: who calls, whether there is such a
//! method, and whether one more call fits. Its answer is a [`CallContext`], with which the method's operation is
//! called.
//!
//! Who calls is asked first: even whether there is such a method is said only to callers that may know.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use tidings::status;
use tidings_auth::{Authentication, Caller};
use tokio::time::Instant;
use tonic::Status;

use super::{
    Auth, CallContext, Permission,
    context::Connection,
    methods::{Method, Methods},
    usage::Open,
};

/// Cloning is cheap.
#[derive(Clone)]
pub(super) struct Gate {
    methods: Arc<Methods>,
    auth: Option<Auth>,
    /// The caller that is not asked to sign in: one for all calls, since most services ask nobody.
    unasked: Caller,
}

impl Gate {
    /// Lets the methods of the table be called.
    pub(super) fn new(methods: Methods, auth: Option<Auth>) -> Self {
        let unasked = if auth.is_some() { Caller::nobody() } else { Caller::unrestricted() };
        Self { methods: Arc::new(methods), auth, unasked }
    }

    /// The method of a path, and who calls it, as a request's headers and its connection say.
    pub(super) fn caller(
        &self,
        path: &str,
        headers: &HeaderMap,
        connection: &Connection,
    ) -> (Result<&Method, Status>, Authentication) {
        let method = self.method(path);
        let authentication = match &self.auth {
            Some(auth) if permission(&method) != Permission::Open || auth.closed => {
                let values = headers.get_all(header::AUTHORIZATION).iter();
                let found = auth.authenticator.authenticate(
                    values.map(HeaderValue::as_bytes),
                    connection.certificate(),
                    connection.recent(),
                );
                match found {
                    // Rights say nothing of these methods, so those of anonymous callers do not open them.
                    Authentication::Done(Ok(caller))
                        if permission(&method) == Permission::Open && caller.subject().is_none() =>
                    {
                        Authentication::Done(Err(status::unauthenticated()))
                    }
                    found => found,
                }
            }
            _ => Authentication::Done(Ok(self.unasked.clone())),
        };
        (method, authentication)
    }

    /// The method of a path.
    ///
    /// # Errors
    ///
    /// UNIMPLEMENTED, with where it is served, or that it is not.
    pub(super) fn method(&self, path: &str) -> Result<&Method, Status> {
        self.methods.find(path)
    }

    /// Lets a call begin. What is answered beside its context is what it counts for, where it does, until it has ended.
    ///
    /// # Errors
    ///
    /// RESOURCE_EXHAUSTED where the caller, or its address, has as many as it may.
    pub(super) fn admit(
        method: &Method,
        caller: Caller,
        connection: &Arc<Connection>,
        deadline: Option<Instant>,
    ) -> Result<(CallContext, Option<Box<Open>>), Status> {
        let context = CallContext::new(Arc::clone(connection), caller, method.call(), deadline);
        let open = context.begin(method.shape())?;
        Ok((context, open))
    }
}

/// What a caller needs for what was found. What there is not is looked up by those who may call something.
pub(super) fn permission(method: &Result<&Method, Status>) -> Permission {
    method.as_ref().map_or(Permission::Subscribe, |method| method.permission())
}
