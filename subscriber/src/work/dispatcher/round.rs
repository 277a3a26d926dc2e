//! Decisions about messages that are out, made into changes of their blocks.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tidings::{
    broker::{
        Error,
        subscriptions::{Change, Due},
    },
    subscription::{Attempts, Block},
};

use super::{
    super::{
        contents::{Contents, Found},
        outcome::Decision,
        retry::Next,
        settle::{Deed, Group, Located, group},
    },
    ledger::{Ledger, Stop},
    want::Want,
};

/// Decisions as changes, and those for which the blocks have to be looked up.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) groups: Vec<Group<Want>>,
    pub(super) rest: Vec<Want>,
}

/// A message that is out, as far as it is known.
pub(super) struct Out {
    pub(super) want: Want,
    pub(super) block: Arc<Block>,
    pub(super) attempts: Option<Attempts>,
    pub(super) json: Option<bytes::Bytes>,
}

impl Round {
    /// Makes changes of decisions about messages that are out.
    pub(super) async fn of(
        mut out: Vec<Out>,
        mut rest: Vec<Want>,
        contents: &Contents,
        ledger: &Ledger,
    ) -> Result<Self, Stop> {
        let now_ms = ledger.now_ms();
        remember(&mut out, ledger).await?;
        let mut nexts: Vec<Option<Next>> = Vec::with_capacity(out.len());
        for one in &out {
            nexts.push(match &one.want.decision {
                Decision::Reject(failure) => {
                    Some(ledger.settings().retry.after(one.attempts.unwrap_or_default(), failure, now_ms))
                }
                Decision::Acknowledge | Decision::Extend(_) => None,
            });
        }
        let unread = read_dead(&mut out, &nexts, contents).await?;
        let (later, now): (Vec<_>, Vec<_>) =
            out.into_iter().zip(nexts).partition(|(one, _)| unread.contains(&one.want.key.sequence));
        rest.extend(later.into_iter().map(|(one, _)| one.want));
        let located = now.into_iter().map(|(one, next)| {
            let Out { want, block, attempts, json } = one;
            let deed = match (&want.decision, next) {
                (Decision::Extend(time), _) => {
                    Deed::Extend(ledger.after(time.unwrap_or(ledger.settings().ack_deadline)))
                }
                (_, Some(next)) => Deed::of(next, json),
                (_, None) => Deed::Acknowledge,
            };
            let is_remembered = attempts != Some(Attempts::default());
            Located { key: want.key, block, is_remembered, deed, by: want }
        });
        let (groups, repeated) = group(located.collect(), now_ms, ledger.settings().is_ordered());
        rest.extend(repeated);
        Ok(Self { groups, rest })
    }

    /// What is to be carried out.
    pub(super) fn changes(&mut self) -> impl Iterator<Item = &mut Change> {
        self.groups.iter_mut().map(|group| &mut group.change)
    }
}

/// Asks what is remembered of messages that another process has leased, where it matters.
async fn remember(out: &mut [Out], ledger: &Ledger) -> Result<(), Error> {
    let needs = |one: &Out| one.attempts.is_none() && matches!(one.want.decision, Decision::Reject(_));
    let sequences: Vec<_> = out.iter().filter(|one| needs(one)).map(|one| one.want.key.sequence).collect();
    let mut remembered = ledger.remembered(&sequences).await?.into_iter();
    for one in out.iter_mut().filter(|one| needs(one)) {
        if let Some(Due { attempts, json, .. }) = remembered.next() {
            (one.attempts, one.json) = (Some(attempts), json);
        }
    }
    Ok(())
}

/// Reads what is put aside, where it is not at hand: as much as a page has, so that no call of the broker is larger.
/// Answers the others.
async fn read_dead(out: &mut [Out], nexts: &[Option<Next>], contents: &Contents) -> Result<HashSet<i64>, Error> {
    let is_dead = |next: &Option<Next>| matches!(next, Some(Next::Dead(..)));
    let wanted = out.iter().zip(nexts).filter(|(one, next)| is_dead(next) && one.json.is_none());
    let mut unread: HashSet<i64> = wanted.map(|(one, _)| one.want.key.sequence).collect();
    if unread.is_empty() {
        return Ok(unread);
    }
    let due = unread.iter().map(|sequence| Due { sequence: *sequence, attempts: Attempts::default(), json: None });
    let mut read = HashMap::new();
    for Found { due: one, json, .. } in contents.find(due.collect()).await? {
        unread.remove(&one.sequence);
        read.insert(one.sequence, json);
    }
    for one in out {
        if let (None, Some(json)) = (&one.json, read.get(&one.want.key.sequence)) {
            one.json.clone_from(json);
        }
    }
    Ok(unread)
}
