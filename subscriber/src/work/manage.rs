//! Subscriptions as things: created, shown, changed, deleted, listed and moved.

use futures_util::{StreamExt as _, stream::FuturesOrdered};
use prost::Message as _;
use tidings::{
    access::{Allowed, Manage, Publish, Read},
    broker::{
        Error, From, Head, PageLimit,
        subscriptions::{Books, Created, Look, New, Place, Set, Start, Unchanged},
    },
    channel::ChannelName,
    cursor,
    limits::{CHANNEL_SUBSCRIPTIONS, LOOKS_AT_ONCE, PAGE_BYTES, PAGE_MESSAGES},
    message::{Mark, Position},
    pb,
    status::{self, reason},
    subscription::{Generation, SubscriptionName},
};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{
    desk::{Desk, failed},
    settings::{self, Settings, set_fields},
};
use crate::stream::holds;

/// Where a subscription begins, or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// After what was published.
    Latest,
    /// Before the oldest retained message.
    Earliest,
    /// Before the first message that was published then, ms since 1970, or later.
    Since(i64),
    /// Before so many messages.
    Last(i64),
    /// After the position of a cursor.
    After(Mark),
}

/// How often settings are read and replaced again that others change meanwhile.
const TRIES: usize = 5;

impl Desk {
    /// Creates a subscription, or finds the one that the same call has created before.
    pub(crate) async fn create(
        &self,
        name: Allowed<Manage, SubscriptionName>,
        channel: Allowed<Read, ChannelName>,
        dead_letters: &Allowed<Publish, ChannelName>,
        given: pb::Subscription,
        start: &StartAt,
        request_id: Option<Uuid>,
    ) -> Result<pb::Subscription, Status> {
        if !self.given().keeps_history {
            return Err(status::no_history());
        }
        let place = Place { channel: channel.into_inner(), name: name.into_inner() };
        let given = pb::Subscription { dead_letter_channel: dead_letters.as_str().to_owned(), ..given };
        let settings = Settings::new(given, &place, self.names())?.created_by(request_id);
        let new = New {
            generation: Generation::random(),
            settings: settings.to_bytes(),
            start: self.resolve(&place.channel, start).await?,
            hold: settings.hold(self.given().holds.bytes()),
        };
        match self.store().create(&place, &new).await.map_err(failed)? {
            Created::Done => self.given().holds.grow(),
            Created::Exists if self.is_of(&place, request_id).await? => {}
            Created::Exists => return Err(status::exists(place.name.as_str())),
            Created::Busy => return Err(status::name_busy(place.name.as_str())),
            Created::Full(most) => return Err(status::subscription_limit(most.max(CHANNEL_SUBSCRIPTIONS))),
        }
        self.changed(&place.name).await
    }

    /// A subscription that was created or changed. Where it can't be read, it was changed all the same.
    async fn changed(&self, name: &SubscriptionName) -> Result<pb::Subscription, Status> {
        self.get(name).await.map_err(|status| match status.code() {
            Code::NotFound => status,
            _ => changed_all_the_same(name, status.message()),
        })
    }

    /// Whether a subscription was created by this call before.
    async fn is_of(&self, place: &Place, request_id: Option<Uuid>) -> Result<bool, Status> {
        if request_id.is_none() {
            return Ok(false);
        }
        match self.find(&place.name, Look::default()).await {
            Ok((found, settings, _)) => Ok(settings.request_id() == request_id && found == *place),
            // It was there, and was deleted meanwhile.
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(status),
        }
    }

    /// The start as the books have it.
    async fn resolve(&self, channel: &ChannelName, start: &StartAt) -> Result<Start, Status> {
        if *start == StartAt::Latest {
            return Ok(Start::End);
        }
        let broker = &self.given().source.broker;
        let Some(head) = self.head(channel).await? else {
            return match start {
                StartAt::After(mark) if mark.position != Position::START => Err(gone(channel)),
                _ => Ok(Start::After(Position::START)),
            };
        };
        let sequence = match start {
            StartAt::Latest => head.last,
            StartAt::Earliest => head.first - 1,
            StartAt::Last(count) => (head.last - count).max(head.first - 1),
            StartAt::Since(time_ms) => broker.sequence_before(channel, *time_ms).await.map_err(failed)?,
            StartAt::After(mark) => return self.after(channel, &head, *mark).await,
        };
        Ok(Start::After(position(&head, sequence)))
    }

    /// After a cursor, whose history must be the channel's.
    async fn after(&self, channel: &ChannelName, head: &Head, mark: Mark) -> Result<Start, Status> {
        let Position { epoch, sequence } = mark.position;
        let is_here = match epoch {
            None => sequence == 0,
            Some(epoch) => match head.epochs.iter().position(|start| start.epoch == epoch) {
                Some(index) => {
                    let end = head.epochs.get(index + 1).map_or(head.last, |next| next.first - 1);
                    sequence <= end
                }
                None => holds(&*self.given().source.broker, channel, mark).await.map_err(failed)?,
            },
        };
        if is_here { Ok(Start::After(mark.position)) } else { Err(gone(channel)) }
    }

    /// A subscription as it is.
    pub(crate) async fn get(&self, name: &SubscriptionName) -> Result<pb::Subscription, Status> {
        let (place, settings, books) = self.find(name, Look { oldest: true, ..Look::default() }).await?;
        let state = self.state(&place, &settings, &books).await?;
        Ok(pb::Subscription { state: Some(state), ..settings.answer(&books) })
    }

    async fn state(&self, place: &Place, settings: &Settings, books: &Books) -> Result<pb::SubscriptionState, Status> {
        let broker = &self.given().source.broker;
        let head = self.head(&place.channel).await?;
        // What was trimmed before anybody was there to claim it is lost, and not counted in the books yet.
        let first = head.as_ref().map_or(0, |head| head.first);
        let trimmed = u64::try_from(first.saturating_sub(books.state.next)).unwrap_or(0).min(books.state.ahead());
        let ahead = books.state.ahead() - trimmed;
        let oldest = books.oldest.map(|oldest| if oldest >= books.state.next { oldest.max(first) } else { oldest });
        let oldest = oldest.filter(|oldest| *oldest <= books.state.end.sequence);
        let time_ms = match oldest {
            None => None,
            Some(oldest) => {
                let limit = PageLimit { messages: 1, bytes: 1 };
                let page = broker.read(&place.channel, From::After(oldest - 1), limit).await.map_err(failed)?;
                page.messages.iter().find(|stored| stored.sequence == oldest).map(|stored| stored.time_ms())
            }
        };
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(pb::SubscriptionState {
            backlog_count: count(ahead + books.state.out + books.waiting + books.parked),
            unexamined_count: if settings.filter.is_some() { count(ahead) } else { 0 },
            outstanding_count: count(books.state.out),
            waiting_count: count(books.waiting),
            dead_letter_count: count(books.dead),
            lost_count: count(books.lost + trimmed),
            consumer_count: i32::try_from(books.consumers).unwrap_or(i32::MAX),
            oldest_unacknowledged_time: time_ms.map(pb::timestamp),
            oldest_unacknowledged_sequence: oldest.unwrap_or(0),
            cursor: head.map(|head| before(&place.channel, &head, oldest, books.state.end)).unwrap_or_default(),
        })
    }

    /// Changes the fields that the mask names, or those that are set.
    pub(crate) async fn update(
        &self,
        name: Allowed<Manage, SubscriptionName>,
        given: &pb::Subscription,
        mask: Option<Vec<String>>,
    ) -> Result<pb::Subscription, Status> {
        let mask = mask.unwrap_or_else(|| set_fields(given));
        for _ in 0..TRIES {
            let (place, settings, books) = self.find(&name, Look::default()).await?;
            check_etag(&name, &given.etag, &books)?;
            let merged = Settings::new(settings.merged(given, &mask)?, &place, self.names())?;
            let merged = merged.created_by(settings.request_id());
            let set = self.store().set(&place, books.state.revision, &merged.to_bytes()).await.map_err(failed)?;
            match set {
                Set::Done => {
                    // Nobody else renews one without consumers.
                    let hold = Some(merged.hold(self.given().holds.bytes()));
                    let look = Look { hold, created_ms: Some(books.create_ms), ..Look::default() };
                    let renewed = self.store().look(&place, look).await;
                    renewed.map_err(|error| changed_all_the_same(&name, &error.to_string()))?;
                    return self.changed(&name).await;
                }
                Set::Missing => return Err(status::not_found(name.as_str())),
                Set::Differs => {}
            }
        }
        Err(status::differs(name.as_str()))
    }

    /// Deletes a subscription.
    pub(crate) async fn delete(
        &self,
        name: Allowed<Manage, SubscriptionName>,
        etag: &str,
        allow_missing: bool,
    ) -> Result<(), Status> {
        let missing = || if allow_missing { Ok(()) } else { Err(status::not_found(name.as_str())) };
        let Some(channel) = self.store().channel_of(&name).await.map_err(failed)? else { return missing() };
        let place = Place { channel, name: (*name).clone() };
        let mut only = None;
        if !etag.is_empty() {
            let Some(books) = self.store().look(&place, Look::default()).await.map_err(failed)? else {
                return missing();
            };
            check_etag(&name, etag, &books)?;
            only = Some(Unchanged::settings(books.state.revision));
        }
        match self.store().delete(&place, only).await.map_err(failed)? {
            Set::Done => Ok(()),
            Set::Missing => missing(),
            Set::Differs => Err(status::differs(name.as_str())),
        }
    }

    /// Moves a subscription.
    pub(crate) async fn seek(
        &self,
        name: Allowed<Manage, SubscriptionName>,
        to: &StartAt,
    ) -> Result<pb::Subscription, Status> {
        let (place, settings, _) = self.find(&name, Look::default()).await?;
        let start = self.resolve(&place.channel, to).await?;
        let hold = settings.hold(self.given().holds.bytes());
        let sought = self.store().seek(&place, start, Generation::random(), hold).await.map_err(failed)?;
        if sought { self.changed(&name).await } else { Err(status::not_found(name.as_str())) }
    }

    /// A page of subscriptions in name order, and the name after which the next one begins.
    pub(crate) async fn list(
        &self,
        visible: impl Fn(&SubscriptionName, &ChannelName) -> bool,
        after: &str,
        page_size: usize,
    ) -> Result<(Vec<pb::Subscription>, Option<String>), Status> {
        let mut listed: Vec<pb::Subscription> = Vec::new();
        let mut bytes = 0;
        let mut after = after.to_owned();
        loop {
            let names = self.store().names(&after, PAGE_MESSAGES).await.map_err(failed)?;
            let is_last = names.len() < PAGE_MESSAGES;
            let Some((last, _)) = names.last() else { return Ok((listed, None)) };
            let last = last.as_str().to_owned();
            let shown = names.into_iter().filter(|(name, channel)| visible(name, channel)).map(|(name, _)| name);
            let shown: Vec<_> = shown.collect();
            for some in shown.chunks(LOOKS_AT_ONCE) {
                let mut looks = FuturesOrdered::new();
                for name in some {
                    looks.push_back(self.get(name));
                }
                while let Some(found) = looks.next().await {
                    let subscription = match found {
                        // It was deleted meanwhile.
                        Err(status) if status.code() == Code::NotFound => continue,
                        found => found?,
                    };
                    bytes += subscription.encoded_len() + 8;
                    if listed.len() == page_size || bytes > PAGE_BYTES && !listed.is_empty() {
                        let next = listed.last().map(|last| last.name.clone());
                        return Ok((listed, next));
                    }
                    listed.push(subscription);
                }
            }
            if is_last {
                return Ok((listed, None));
            }
            after = last;
        }
    }
}

/// The cursor before the oldest message of a backlog; where there is none, after the last that the channel had then.
fn before(channel: &ChannelName, head: &Head, oldest: Option<i64>, end: Position) -> String {
    let sequence = oldest.map_or(end.sequence, |oldest| oldest - 1);
    match position(head, sequence) {
        // Of which epoch it is is not known any more.
        Position { epoch: None, sequence: 1.. } => String::new(),
        position => cursor::encode(channel, head.mark(position)),
    }
}

/// For a change that was made, and what comes after it failed.
fn changed_all_the_same(name: &SubscriptionName, why: &str) -> Status {
    failed(Error::OutcomeUnknown(format!("{name} was changed, and can't be read now: {why}")))
}

fn check_etag(name: &SubscriptionName, etag: &str, books: &Books) -> Result<(), Status> {
    let is_present = etag.is_empty() || etag == settings::etag(books);
    if is_present { Ok(()) } else { Err(status::differs(name.as_str())) }
}

/// A position in a channel's present history.
fn position(head: &Head, sequence: i64) -> Position {
    let epoch = if sequence == 0 { None } else { head.epoch_at(sequence) };
    Position { epoch, sequence }
}

fn gone(channel: &ChannelName) -> Status {
    let text = "the cursor's history is gone: Redis lost writes or was flushed; begin with earliest or since";
    status::out_of_range(reason::EPOCH_CHANGED, text, [("channel", channel.to_string())])
}

/// A page token of a list of subscriptions.
pub(crate) fn list_token(channel: &str, last: &str) -> String {
    cursor::encode_names_page(&list_query(channel), last)
}

/// Reads one.
pub(crate) fn read_list_token(token: &str, channel: &str) -> Result<String, Status> {
    match token {
        "" => Ok(String::new()),
        token => cursor::decode_names_page(token, &list_query(channel))
            .map_err(|error| status::invalid_page_token("page_token", error)),
    }
}

/// No pattern and no channel has a space.
fn list_query(channel: &str) -> String {
    format!("subscriptions of {channel}")
}
