//! A connection of the `redis` crate, over one of ours that is signed in already.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisFuture, RedisResult, Value,
    aio::{self, ConnectionLike},
};
use tokio::io::join;
use tokio_util::task::AbortOnDropHandle;

use super::{
    error,
    resp_connection::RespConnection,
    server::{Server, Steps},
    topology::Primary,
};

/// Bytes that are read at a time until the crate takes over.
const GREETING_READ_BYTES: usize = 1 << 10;

/// As the crate's. Its task ends with the last handle, also where the server owes answers.
#[derive(Clone)]
pub(super) struct MultiplexedConnection {
    connection: aio::MultiplexedConnection,
    /// Shared, since each publish has a handle.
    driven: Arc<Driven>,
}

/// What all handles have in common.
struct Driven {
    primary: Primary,
    _driver: AbortOnDropHandle<()>,
}

impl MultiplexedConnection {
    /// Connects and signs in under a name. It sets no limit for that.
    pub(super) async fn open(
        server: &Server,
        steps: &Steps,
        name: &str,
        config: AsyncConnectionConfig,
        write_timeout: Duration,
    ) -> Result<Self, String> {
        let greeted = RespConnection::greet(server, steps, name, GREETING_READ_BYTES, write_timeout).await?;
        let primary = greeted.primary().clone();
        let (reader, _, writer) = greeted.into_parts();
        // The crate greets once more, without a password: it has none.
        let info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(server.database())
            .set_skip_set_lib_name();
        let opened = aio::MultiplexedConnection::new_with_config(&info, join(reader, writer), config).await;
        let (connection, driver) = opened.map_err(|error| error::of_connecting(&error))?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        Ok(Self { connection, driven: Arc::new(Driven { primary, _driver: driver }) })
    }

    /// Ends when another server is the primary: then nothing comes over it any more.
    pub(super) fn replaced(&self) -> impl Future<Output = ()> + use<> {
        self.driven.primary.replaced()
    }

    /// Sends one command, and returns its answer.
    pub(super) async fn send_packed_command(&mut self, command: &Cmd) -> RedisResult<Value> {
        self.connection.send_packed_command(command).await
    }
}

impl ConnectionLike for MultiplexedConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.connection.req_packed_command(command)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.connection.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}
