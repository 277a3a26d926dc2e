//! What is kept of single messages: the blocks that they are out in, their fates, and those that wait for a retry.

use redis::{Cmd, Value};
use tidings::{
    broker::{
        Error,
        subscriptions::{Closed, Due, Fate},
    },
    message::Epoch,
    subscription::{Attempts, Block, Generation},
};

use super::answer::{Fields, not_understood, number};

/// A sequence as subscriptions' keys have it: with as many digits as the greatest, so that Redis has those that are due
/// at the same time in their order.
pub(super) fn sequence(sequence: i64) -> String {
    format!("{sequence:016}")
}

/// Reads the answer of HMGET.
pub(super) fn read_blocks(mut fields: Fields) -> Result<Vec<Option<Block>>, Error> {
    let mut blocks = Vec::with_capacity(fields.len());
    while fields.len() > 0 {
        let bytes = fields.optional()?;
        blocks.push(bytes.map(|bytes| Block::from_bytes(&bytes).ok_or_else(not_understood)).transpose()?);
    }
    Ok(blocks)
}

pub(super) fn write_fates(mut call: Cmd, generation: Generation, messages: &[(Epoch, i64)]) -> Cmd {
    call.arg(generation.to_string());
    for (epoch, number) in messages {
        call.arg(sequence(*number)).arg(epoch.to_string());
    }
    call
}

/// Reads what `subscription_fates.lua` answers.
pub(super) fn read_fates(mut fields: Fields) -> Result<Vec<Fate>, Error> {
    let mut fates = Vec::with_capacity(fields.len());
    while fields.len() > 0 {
        fates.push(if fields.parse::<u8>()? == 1 { Fate::Settled } else { Fate::Open });
    }
    Ok(fates)
}

/// Reads the answers of ZCARD, and of HMGET where any keys were asked about.
pub(super) fn read_closed(answers: Vec<Value>, asked: usize) -> Result<Closed, Error> {
    let mut answers = answers.into_iter();
    let parked = number(answers.next().unwrap_or_default())?;
    let mut keys = Vec::with_capacity(asked);
    if let Some(answer) = answers.next() {
        let mut fields = Fields::of(answer)?;
        while fields.len() > 0 {
            keys.push(fields.optional()?.is_some());
        }
    }
    if keys.len() == asked { Ok(Closed { keys, parked }) } else { Err(not_understood()) }
}

/// Reads what `subscription_due.lua` answers.
pub(super) fn read_due(mut fields: Fields) -> Result<Vec<Due>, Error> {
    let mut due = Vec::with_capacity(fields.len() / 3);
    while fields.len() > 0 {
        let (sequence, attempts, json) = (fields.parse()?, fields.text()?, fields.optional()?);
        due.push(Due { sequence, attempts: read_attempts(&attempts)?, json });
    }
    Ok(due)
}

fn read_attempts(text: &str) -> Result<Attempts, Error> {
    match text {
        "" => Ok(Attempts::default()),
        text => Attempts::parse(text).ok_or_else(not_understood),
    }
}

/// Reads the answers of HMGET about attempts, and about the JSON that is kept.
pub(super) fn read_remembered(sequences: &[i64], mut attempts: Fields, mut kept: Fields) -> Result<Vec<Due>, Error> {
    let mut remembered = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let bytes = attempts.optional()?.unwrap_or_default();
        let text = std::str::from_utf8(&bytes).map_err(|_| not_understood())?;
        remembered.push(Due { sequence: *sequence, attempts: read_attempts(text)?, json: kept.optional()? });
    }
    Ok(remembered)
}
