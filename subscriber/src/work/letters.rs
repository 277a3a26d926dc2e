//! Dead letters: listed, and put back.

use std::time::Duration;

use prost::Message as _;
use tidings::{
    access::{Allowed, Manage},
    broker::{
        Head, Stored,
        subscriptions::{Letter, LetterId, Look, Place},
    },
    cursor,
    limits::{PAGE_BYTES, REDRIVEN},
    metrics, pb, status,
    subscription::SubscriptionName,
};
use tonic::Status;

use super::desk::{Desk, failed};
use crate::list;

/// The name of a dead letter, as clients have it.
fn id_text(id: &LetterId) -> String {
    format!("{}-{}-{}", id.dead_ms, id.sequence, id.epoch)
}

/// Reads one; `None` where it is none.
fn read_id(text: &str) -> Option<LetterId> {
    let mut parts = text.split('-');
    let (dead_ms, sequence, epoch) = (parts.next()?, parts.next()?, parts.next()?);
    let id = LetterId { dead_ms: dead_ms.parse().ok()?, sequence: sequence.parse().ok()?, epoch: epoch.parse().ok()? };
    parts.next().is_none().then_some(id)
}

/// A page of dead letters.
pub(crate) struct Query<'a> {
    pub(crate) page_size: usize,
    pub(crate) page_token: &'a str,
}

/// Which dead letters are put back.
pub(crate) enum Which {
    All,
    These(Vec<String>),
}

impl Desk {
    /// Lists dead letters.
    pub(crate) async fn dead_letters(
        &self,
        name: Allowed<Manage, SubscriptionName>,
        query: &Query<'_>,
    ) -> Result<pb::ListDeadLettersResponse, Status> {
        let (place, ..) = self.find(&name, Look::default()).await?;
        let of = format!("dead letters of {}", name.as_str());
        let mut after = match query.page_token {
            "" => None,
            token => {
                let text = cursor::decode_names_page(token, &of);
                let text = text.map_err(|error| status::invalid_page_token("page_token", error))?;
                let malformed = || status::invalid_page_token("page_token", cursor::InvalidCursor::Malformed);
                Some(read_id(&text).ok_or_else(malformed)?)
            }
        };
        let head = self.head(&place.channel).await?;
        let mut response = pb::ListDeadLettersResponse::default();
        let mut bytes = 0;
        loop {
            let room = query.page_size - response.dead_letters.len();
            let found =
                self.store().dead_letters(&place, after.as_ref(), room.max(1), PAGE_BYTES - bytes.min(PAGE_BYTES));
            let found = found.await.map_err(failed)?;
            if found.is_empty() {
                return Ok(response);
            }
            for (id, letter) in found {
                let dead = dead_letter(&place, head.as_ref(), &id, letter);
                let size = dead.encoded_len() + 8;
                let is_full = response.dead_letters.len() == query.page_size || bytes + size > PAGE_BYTES;
                if is_full && !response.dead_letters.is_empty() {
                    let last = after.as_ref().map(id_text).unwrap_or_default();
                    response.next_page_token = cursor::encode_names_page(&of, &last);
                    return Ok(response);
                }
                bytes += size;
                response.dead_letters.push(dead);
                after = Some(id);
            }
        }
    }

    /// Puts dead letters back; answers how many.
    pub(crate) async fn redrive(
        &self,
        name: Allowed<Manage, SubscriptionName>,
        which: Which,
        per_second: u32,
    ) -> Result<i64, Status> {
        let (place, _, books) = self.find(&name, Look::default()).await?;
        let apart = match per_second {
            0 => Duration::ZERO,
            per_second => Duration::from_secs_f64(f64::from(per_second).recip()),
        };
        let mut ids: Vec<LetterId> = Vec::new();
        let mut count = 0_u32;
        let mut redriven = 0_i64;
        if let Which::These(texts) = &which {
            // What is no name of a dead letter names none.
            ids.extend(texts.iter().filter_map(|text| read_id(text)));
        }
        let mut rest = ids.into_iter();
        let mut after = None;
        loop {
            let some: Vec<LetterId> = match which {
                Which::These(_) => rest.by_ref().take(REDRIVEN).collect(),
                Which::All => {
                    let found = self.store().dead_letters(&place, after.as_ref(), REDRIVEN, PAGE_BYTES).await;
                    let found = found.map_err(failed)?.into_iter().map(|(id, _)| id);
                    // What died since the call began stays.
                    found.take_while(|id| id.dead_ms <= books.state.now_ms).collect()
                }
            };
            let Some(last) = some.last() else { return Ok(redriven) };
            after = Some(last.clone());
            let back = self.store().redrive(&place, &some, apart * count, apart).await.map_err(failed)?;
            metrics::redriven(back);
            count = count.saturating_add(u32::try_from(back).unwrap_or(u32::MAX));
            redriven = redriven.saturating_add(i64::try_from(back).unwrap_or(i64::MAX));
        }
    }
}

fn dead_letter(place: &Place, head: Option<&Head>, id: &LetterId, letter: Letter) -> pb::DeadLetter {
    let stored = Stored { sequence: letter.sequence, json: letter.json, adopted: None };
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    pb::DeadLetter {
        dead_letter_id: id_text(id),
        message: Some(list::message(&place.channel, &stored, head).0),
        reason: letter.reason,
        delivery_attempts: number(letter.attempts.count),
        dead_time: Some(pb::timestamp(id.dead_ms)),
        redrive_count: number(letter.attempts.redrives),
    }
}

#[cfg(test)]
mod tests {
    use tidings::message::Epoch;

    use super::*;

    #[test]
    fn a_dead_letters_name_is_read_again() {
        let id = LetterId { dead_ms: 1_700_000_000_000, sequence: 42, epoch: Epoch::random() };
        assert_eq!(read_id(&id_text(&id)), Some(id.clone()));
        for text in ["", "1", "1-2", "1-2-3", &format!("{}-4", id_text(&id)), "a-b-c"] {
            assert_eq!(read_id(text), None, "{text}");
        }
    }
}
