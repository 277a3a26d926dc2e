//! How requests are decoded: what repeats in them is counted first. Two bytes of an empty element become some hundred
//! in memory, so that eight megabytes of them would become a gigabyte before their number was looked at.
//!
//! Every way on which a request is decoded comes through here: [`decode`] where bytes are at hand, [`Counting`] in the
//! generated services. A request over a limit gets the same error on each way.

use std::marker::PhantomData;

use prost::{Message, bytes::Buf};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use self::fields::Fields;
use crate::{
    limits::{AFTER_CURSORS, ATTRIBUTES, BATCH_MESSAGES, UNCOUNTED_BATCH_BYTES, UNCOUNTED_BYTES},
    pb, status,
};

mod fields;
mod subscriptions;

/// A message whose repeated fields can be counted before it is decoded.
pub trait Counted: Default {
    /// Refuses a message with too many of anything: RESOURCE_EXHAUSTED. It takes one pass over the fields. Short
    /// messages are skipped: they stay small when they are decoded, and their limits are checked then.
    fn count(_bytes: &[u8]) -> Result<(), Status> {
        Ok(())
    }

    /// An empty message, with room for what so many bytes probably have.
    fn with_room(_bytes: usize) -> Self {
        Self::default()
    }
}

/// Counts, then decodes.
///
/// # Errors
///
/// RESOURCE_EXHAUSTED where there is too much of something; INVALID_ARGUMENT where it is no such message.
pub fn decode<M: Message + Counted>(bytes: impl Buf) -> Result<M, Status> {
    // The caller has joined the pieces.
    M::count(bytes.chunk())?;
    let mut message = M::with_room(bytes.remaining());
    message.merge(bytes).map_err(|_| status::malformed())?;
    Ok(message)
}

impl Counted for pb::PublishRequest {
    fn count(bytes: &[u8]) -> Result<(), Status> {
        if bytes.len() <= UNCOUNTED_BYTES {
            return Ok(());
        }
        attributes(publish::attributes_of(bytes), || "attributes".to_owned())
    }
}

impl Counted for pb::PublishBatchRequest {
    fn count(bytes: &[u8]) -> Result<(), Status> {
        if bytes.len() <= UNCOUNTED_BATCH_BYTES {
            return Ok(());
        }
        let requests = || Fields::of(bytes).filter(|(number, _)| *number == publish::REQUESTS);
        let count = requests().count();
        if count > BATCH_MESSAGES {
            return Err(status::batch_too_long(count));
        }
        let large = requests().enumerate().filter(|(_, (_, request))| request.len() > UNCOUNTED_BYTES);
        for (index, (_, request)) in large {
            attributes(publish::attributes_of(request), || format!("requests[{index}].attributes"))?;
        }
        Ok(())
    }

    /// One that grows while it is decoded copies each request several times.
    fn with_room(bytes: usize) -> Self {
        // Of a request with a short name and text.
        const SMALL: usize = 64;
        Self { requests: Vec::with_capacity((bytes / SMALL).min(BATCH_MESSAGES)), ..Self::default() }
    }
}

impl Counted for pb::PublishStreamRequest {
    fn count(bytes: &[u8]) -> Result<(), Status> {
        if bytes.len() <= UNCOUNTED_BYTES {
            return Ok(());
        }
        // A message field that comes twice is one message, with the fields of both.
        let requests = Fields::of(bytes).filter(|(number, _)| *number == publish::REQUEST);
        attributes(requests.map(|(_, request)| publish::attributes_of(request)).sum(), || {
            "request.attributes".to_owned()
        })
    }
}

impl Counted for pb::StreamMessagesRequest {
    fn count(bytes: &[u8]) -> Result<(), Status> {
        const AFTER: u32 = 6;
        if bytes.len() <= UNCOUNTED_BYTES {
            return Ok(());
        }
        match Fields::of(bytes).filter(|(number, _)| *number == AFTER).count() {
            count if count > 1 + AFTER_CURSORS => Err(status::too_many_cursors(count)),
            _ => Ok(()),
        }
    }
}

// Nothing repeats in these, or it is us who write them.
impl Counted for pb::ListMessagesRequest {}
impl Counted for pb::ListChannelsRequest {}
impl Counted for pb::PublishResponse {}
impl Counted for pb::PublishBatchResponse {}
impl Counted for pb::PublishStreamResponse {}
impl Counted for pb::ListMessagesResponse {}
impl Counted for pb::StreamMessagesResponse {}
impl Counted for pb::ListChannelsResponse {}

/// Numbers of fields of `publisher_service.proto`.
mod publish {
    use super::Fields;

    /// Of a batch.
    pub(super) const REQUESTS: u32 = 2;
    /// Of a message on a stream.
    pub(super) const REQUEST: u32 = 1;
    const ATTRIBUTES: u32 = 5;

    /// How many pairs a `PublishRequest` has.
    pub(super) fn attributes_of(request: &[u8]) -> usize {
        Fields::of(request).filter(|(number, _)| *number == ATTRIBUTES).count()
    }
}

fn attributes(count: usize, field: impl FnOnce() -> String) -> Result<(), Status> {
    if count > ATTRIBUTES { Err(status::too_many_attributes(field(), count)) } else { Ok(()) }
}

/// The codec of the generated services and clients: prost's, after the counting.
#[derive(Debug, Clone)]
pub struct Counting<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Counting<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Counting<T, U>
where
    T: Message + Send + 'static,
    U: Message + Counted + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CountingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        CountingDecoder(ProstCodec::<T, U>::default().decoder())
    }
}

/// Counts, then lets prost decode.
#[derive(Debug, Clone)]
pub struct CountingDecoder<U>(ProstDecoder<U>);

impl<U: Message + Counted> Decoder for CountingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::count(buffer.chunk())?;
        self.0.decode(buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

#[cfg(test)]
mod tests;
