//! What both services count of who may call.

use std::sync::LazyLock;

use ::metrics::{Counter, counter};

use super::{FILES, REFUSED};

pub(super) struct Access {
    refused: [Counter; 3],
    files: [[Counter; 2]; 3],
}

pub(super) static ACCESS: LazyLock<Access> = LazyLock::new(|| Access {
    refused: ["unauthenticated", "expired", "denied"].map(|reason| counter!(REFUSED, "reason" => reason)),
    files: ["keys", "policy", "certificate"]
        .map(|file| ["ok", "failed"].map(|result| counter!(FILES, "file" => file, "result" => result))),
});

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Nobody who may call.
    Unauthenticated = 0,
    /// The token was good.
    Expired = 1,
    /// Not with this channel.
    Denied = 2,
}

/// A call was refused, or a message of one.
pub fn refused(why: Refused) {
    ACCESS.refused[why as usize].increment(1);
}

/// A file that is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// What tokens are checked with.
    Keys = 0,
    /// Who may do what.
    Policy = 1,
    /// A certificate and its key.
    Certificate = 2,
}

/// A file had changed, and was taken up or not.
pub fn read_again(file: File, is_ok: bool) {
    ACCESS.files[file as usize][usize::from(!is_ok)].increment(1);
}
