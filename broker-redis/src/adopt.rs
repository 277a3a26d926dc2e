//! Calls of the adopting script.

use async_trait::async_trait;
use redis::Value;
use tidings::{
    broker::{
        Error,
        adopt::{self, Adopt, Adoption},
    },
    channel::ChannelName,
    limits::LEASE,
    message::{Epoch, Position},
};
use tokio::time::{Instant, timeout_at};

use super::{
    call::{self, Seen},
    error, script,
    writing::Writing,
};

pub(super) struct Adopter {
    writing: Writing,
}

#[async_trait]
impl adopt::Adopter for Adopter {
    async fn adopt(&self, channel: &ChannelName, adopt: &Adopt) -> Result<Adoption, Error> {
        let limit = self.writing.connection.timeout();
        let deadline = Instant::now() + limit;
        let mut session = self.writing.registry.reach(channel, deadline).await?;
        let call = self.write(channel, adopt);
        let sending = timeout_at(deadline, script::ADOPT.send(&call, &mut session.connection));
        let sent = self.writing.closing.run_until_cancelled(sending).await.ok_or_else(error::cut)?;
        let answer = sent.map_err(|_| error::slow())?.map_err(|error| self.writing.connection.failed(&error))?;
        let adoption = read(answer)?;
        if let Adoption::Done { last, .. } = adoption {
            let first = last.sequence - adopt.messages.len() as i64 + 1;
            self.writing.registry.note(channel, Seen { first, last, ..Seen::default() }, &session, deadline).await;
        }
        Ok(adoption)
    }
}

impl Adopter {
    pub(super) fn new(writing: Writing) -> Self {
        Self { writing }
    }

    fn write(&self, channel: &ChannelName, adopt: &Adopt) -> redis::Cmd {
        let mut call = script::ADOPT.call();
        call.arg(3)
            .arg(self.writing.keys.head(channel))
            .arg(self.writing.keys.log(channel))
            .arg(self.writing.keys.lease(channel));
        call::write_common(&mut call, channel, &self.writing.retention, Seen::from_push(adopt.seen), Epoch::random());
        call.arg(self.writing.keys.adopted(channel)).arg(adopt.token.to_string()).arg(u8::from(adopt.ask));
        call.arg(LEASE.as_millis() as u64).arg(position(adopt.adopted));
        for message in &adopt.messages {
            call.arg(&message.hash).arg(message.envelope.head.as_bytes()).arg(message.envelope.tail.as_bytes());
        }
        call
    }
}

/// As the head has it.
fn position(position: Position) -> String {
    position.epoch.map(|epoch| format!("{epoch},{}", position.sequence)).unwrap_or_default()
}

fn read(answer: Value) -> Result<Adoption, Error> {
    let malformed_reply =
        || Error::OutcomeUnknown("the adopting script answered in a way that is not understood".to_owned());
    let Value::Array(answer) = answer else { return Err(malformed_reply()) };
    match &answer[..] {
        [Value::BulkString(word), Value::BulkString(epoch), Value::BulkString(last), Value::Int(given_up)]
            if word == b"DONE" =>
        {
            let (epoch, last) = (text(epoch).ok_or_else(malformed_reply)?, text(last).ok_or_else(malformed_reply)?);
            let last = Position::new(
                epoch.parse().map_err(|_| malformed_reply())?,
                last.parse().map_err(|_| malformed_reply())?,
            );
            Ok(Adoption::Done { last, given_up: *given_up == 1 })
        }
        [Value::BulkString(word)] if word == b"BEHIND" => Ok(Adoption::Behind),
        [Value::BulkString(word), Value::Int(left_ms)] if word == b"OTHER" => {
            Ok(Adoption::Other { for_ms: u64::try_from(*left_ms).unwrap_or(0) })
        }
        _ => Err(malformed_reply()),
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
