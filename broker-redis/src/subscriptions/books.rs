//! Looking into a subscription's books.

use redis::{Cmd, Value};
use tidings::{
    broker::{
        Error,
        subscriptions::{Books, Glance, Look, Place, State},
    },
    message::Position,
    subscription::{Block, BlockId},
};

use super::{
    answer::{Fields, not_understood, number},
    calls::Calls,
    creation::{ms, write_hold},
};
use crate::script;

/// The call that notes that it is in use, and what it holds.
pub(super) fn write_renewal(calls: &Calls, place: &Place, look: &Look) -> Cmd {
    let mut call = calls.of(&script::SUBSCRIPTION_RENEW, place);
    call.arg(place.name.as_str()).arg(u8::from(look.used));
    match &look.hold {
        Some(hold) => write_hold(&mut call, hold),
        None => {
            call.arg("").arg("");
        }
    }
    match look.consumers {
        Some((token, streams)) => call.arg(format!("{:016x}", token.as_u64())).arg(streams),
        None => call.arg("").arg(""),
    };
    call.arg(look.created_ms.map(|ms| ms.to_string()).unwrap_or_default());
    call
}

pub(super) fn write_look(calls: &Calls, place: &Place, look: &Look) -> Cmd {
    let mut call = calls.of(&script::SUBSCRIPTION_LOOK, place);
    call.arg(u8::from(look.oldest));
    match look.overdue {
        Some((limit, grace)) => call.arg(limit).arg(ms(grace)),
        None => call.arg("").arg(""),
    };
    call
}

/// Reads the answers of ZCARD and HMGET.
pub(super) fn read_glance(answers: Vec<Value>) -> Result<Option<Glance>, Error> {
    let [waiting, books] = <[Value; 2]>::try_from(answers).map_err(|_| not_understood())?;
    let mut books = Fields::of(books)?;
    let Some(generation) = books.optional()? else { return Ok(None) };
    let generation = std::str::from_utf8(&generation).ok().and_then(|text| text.parse().ok());
    Ok(Some(Glance {
        generation: generation.ok_or_else(not_understood)?,
        revision: books.parse()?,
        out: books.parse()?,
        next: books.parse()?,
        waiting: number(waiting)?,
    }))
}

/// Reads what `subscription_look.lua` answers.
pub(super) fn read_books(mut fields: Fields) -> Result<Option<Books>, Error> {
    if fields.len() == 0 {
        return Ok(None);
    }
    let state = read_state(&mut fields)?;
    let mut books = Books {
        state,
        settings: fields.bytes()?,
        create_ms: fields.parse()?,
        used_ms: fields.parse()?,
        position: Position { epoch: fields.parse_some()?, sequence: state.next - 1 },
        waiting: fields.parse()?,
        parked: fields.parse()?,
        dead: fields.parse()?,
        unsent: fields.parse()?,
        lost: fields.parse()?,
        consumers: fields.parse()?,
        oldest: fields.parse_some()?,
        overdue: Vec::with_capacity(fields.len() / 2),
    };
    while fields.len() > 0 {
        let (id, block) = (fields.text()?, fields.bytes()?);
        let read = BlockId::parse(&id).zip(Block::from_bytes(&block));
        books.overdue.push(read.ok_or_else(not_understood)?);
    }
    Ok(Some(books))
}

/// What all answers begin with.
pub(super) fn read_state(fields: &mut Fields) -> Result<State, Error> {
    Ok(State {
        now_ms: fields.clock_ms()?,
        generation: fields.parse()?,
        revision: fields.parse()?,
        next: fields.parse().and_then(|next: i64| if next >= 1 { Ok(next) } else { Err(not_understood()) })?,
        out: fields.parse()?,
        end: fields.position()?,
        due_ms: fields.parse_some()?,
    })
}
