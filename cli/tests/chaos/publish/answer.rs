//! What publishers answer, as an outcome.

use tidings::{
    channel::Names,
    cursor,
    message::{Epoch, Position},
    pb::{PublishError, PublishResponse},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::Message;
use crate::history::Outcome;

/// A receipt. Its cursor must say what it says, and its id must be the client's.
pub(super) fn receipt(message: &Message, response: &PublishResponse) -> Outcome {
    let Ok(epoch) = response.epoch.parse::<Epoch>() else {
        return Outcome::Odd(format!("a receipt with the epoch {:?}", response.epoch));
    };
    let position = Position::new(epoch, response.sequence);
    let channel = Names::new("tidings", "").and_then(|names| names.parse(&message.channel));
    let says = channel.map(|channel| cursor::decode_for(&response.cursor, &channel).map(|mark| mark.position));
    if says != Ok(Ok(position)) {
        return Outcome::Odd(format!("a receipt for {position:?} with another cursor"));
    }
    if message.id.is_some_and(|id| id.to_string() != response.message_id) || response.channel != message.channel {
        return Outcome::Odd("a receipt of another message".to_owned());
    }
    Outcome::Receipt { position, duplicate: response.duplicate }
}

/// An error. Clients make some by themselves, where a service went away: these have no details.
pub(super) fn status(status: &Status, is_gone: bool) -> Outcome {
    let Some(info) = status.get_details_error_info().filter(|info| info.domain == "tidings") else {
        return match is_gone {
            true => Outcome::Unknown,
            false => Outcome::Odd(format!("{:?}: {}", status.code(), status.message())),
        };
    };
    match (status.code(), info.reason.as_str()) {
        (Code::Unavailable, "NOT_PUBLISHED") => Outcome::Refused,
        (Code::Unknown, "OUTCOME_UNKNOWN") => Outcome::Unknown,
        (code, reason) => Outcome::Odd(format!("{code:?}, {reason}: {}", status.message())),
    }
}

/// An error on a stream of answers.
pub(super) fn error(error: &PublishError) -> Outcome {
    use prost::Message as _;
    let details =
        tonic_types::pb::Status { code: error.code, message: error.message.clone(), details: error.details.clone() };
    let code = Code::from(error.code);
    status(&Status::with_details(code, &error.message, details.encode_to_vec().into()), false)
}
