//! A lister: reads a channel's log page by page, long after it began, wherever its subscriber is by then.

use std::sync::{Arc, Mutex};

use tidings::pb::{ListMessagesRequest, Message, Order, message::Payload};
use tidings_subscriber::simulation::Subscriber;
use tonic::Code;

use crate::{
    schedule::CHANNELS,
    truth::{Listed, Numbered},
    world,
};

const PAGE_SIZE: i32 = 2;

/// One list at a time: where it continues.
#[derive(Debug, Clone)]
pub(crate) struct Lister {
    index: usize,
    /// `None` while a page is under way.
    token: Arc<Mutex<Option<String>>>,
}

/// Each channel has two, of which the second lists the newest first.
pub(crate) const LISTERS: usize = 2 * CHANNELS.len();

pub(crate) fn channel(index: usize) -> &'static str {
    CHANNELS[index / 2]
}

pub(crate) fn is_newest_first(index: usize) -> bool {
    index % 2 == 1
}

impl Lister {
    pub(crate) fn new(index: usize) -> Self {
        Self { index, token: Arc::new(Mutex::new(Some(String::new()))) }
    }

    /// Takes the next page, unless one is under way.
    pub(crate) fn take(&self) -> Option<String> {
        self.token.lock().expect("whole").take()
    }

    /// Asks for a page, and notes what comes.
    pub(crate) async fn page(self, subscriber: Arc<Subscriber>, token: String) {
        let order = if is_newest_first(self.index) { Order::NewestFirst } else { Order::OldestFirst };
        let request = ListMessagesRequest {
            channel: channel(self.index).to_owned(),
            page_size: PAGE_SIZE,
            page_token: token.clone(),
            order: order.into(),
        };
        let (listed, next) = match subscriber.list(request).await {
            Ok(page) => {
                let messages: Vec<Numbered> = page.messages.into_iter().map(numbered).collect();
                (Some(Listed::Page { is_first: token.is_empty(), messages }), page.next_page_token)
            }
            Err(status) => match status.code() {
                Code::OutOfRange if !token.is_empty() => (Some(Listed::Gone), String::new()),
                Code::Unavailable | Code::Unknown | Code::DeadlineExceeded => (None, token),
                _ => (Some(Listed::Refused(format!("{:?} {}", status.code(), status.message()))), String::new()),
            },
        };
        let index = self.index;
        world::with(|world| {
            world.truth.note(|| format!("L{index} of {}: {listed:?}", channel(index)));
            world.truth.lists[index].extend(listed);
        });
        *self.token.lock().expect("whole") = Some(next);
    }
}

fn numbered(message: Message) -> Numbered {
    let text = match message.payload {
        Some(Payload::Text(text)) => text,
        other => format!("{other:?}"),
    };
    Numbered { channel: message.channel, epoch: message.epoch, sequence: message.sequence, text }
}
