//! What a stream says, as an event of the history. What can't be understood is an event as well: an odd one.

use tidings::{
    channel::Names,
    cursor::{self, Cursor},
    message::{Epoch, Position},
    pb::{StreamMessagesResponse, message::Payload, stream_messages_response::Event as Said},
};

use crate::{
    board::{Board, label_on},
    history::{Event, Positions},
};

/// The event, and its cursor as it was sent.
pub(super) fn read(board: &Board, topic: &str, response: StreamMessagesResponse) -> (Event, String) {
    let said = response.event;
    let cursor = match &said {
        Some(Said::Started(started)) => started.cursor.clone(),
        Some(Said::Message(message)) => message.cursor.clone(),
        Some(Said::Gap(gap)) => gap.cursor.clone(),
        Some(Said::CaughtUp(caught_up)) => caught_up.cursor.clone(),
        Some(Said::Heartbeat(heartbeat)) => heartbeat.cursor.clone(),
        None => String::new(),
    };
    let event = understand(board, topic, said, &cursor).unwrap_or_else(Event::Odd);
    (event, cursor)
}

fn understand(board: &Board, topic: &str, said: Option<Said>, text: &str) -> Result<Event, String> {
    let odd = |what: &str| format!("{what} with a cursor that can't be read");
    Ok(match said.ok_or("an event of no kind")? {
        Said::Started(_) => Event::Started(whole(board, topic, text).ok_or(odd("started"))?),
        Said::CaughtUp(_) => Event::CaughtUp(whole(board, topic, text).ok_or(odd("caught_up"))?),
        Said::Heartbeat(_) => Event::Heartbeat(whole(board, topic, text).ok_or(odd("heartbeat"))?),
        Said::Message(message) => {
            let cursor = cursor(&message.channel, text).ok_or(odd("a message"))?;
            let Some(Payload::Text(payload)) = message.payload else { return Err("no text".to_owned()) };
            let position = match message.sequence {
                0 => Position::START,
                sequence => Position::new(epoch(&message.epoch)?.ok_or("a sequence without an epoch")?, sequence),
            };
            let body = label_on(&message.channel, &payload, &message.message_id);
            Event::Message { channel: message.channel, id: message.message_id, body, position, cursor }
        }
        Said::Gap(gap) => Event::Gap {
            epoch: epoch(&gap.epoch)?,
            cursor: cursor(&gap.channel, text).ok_or(odd("a gap"))?,
            reason: gap.reason(),
            first: gap.first_missing,
            last: gap.last_missing,
            channel: gap.channel,
        },
    })
}

fn epoch(text: &str) -> Result<Option<Epoch>, String> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("the epoch {text:?}")),
    }
}

/// What a channel's cursor says.
pub(super) fn cursor(channel: &str, text: &str) -> Option<Position> {
    match decode(text)? {
        Cursor::Channel(owner, mark) if owner.is(channel) => Some(mark.position),
        _ => None,
    }
}

fn decode(text: &str) -> Option<Cursor> {
    cursor::decode(text, &Names::new("tidings", "").ok()?).ok()
}

/// What the cursor of a whole stream says.
fn whole(board: &Board, topic: &str, text: &str) -> Option<Positions> {
    match decode(text)? {
        Cursor::Channel(owner, mark) if owner.is(topic) => Some(Positions::from([(topic.to_owned(), mark.position)])),
        Cursor::Stream(owner, stream) if owner.is(topic) => {
            let named = stream.channels.iter().map(|(channel, at)| Some((channel.to_string(), at.position)));
            let unnamed = stream.unnamed.iter();
            let unnamed = unnamed.map(|(owner, at)| Some((board.channel(owner)?.clone(), at.position)));
            named.chain(unnamed).collect()
        }
        _ => None,
    }
}
