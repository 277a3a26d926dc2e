//! Sockets to Redis: the operating system's, or those of a simulated network.

use redis::{AsyncConnectionConfig, RedisResult, aio::MultiplexedConnection};
#[cfg(not(simulation))]
pub(super) use tokio::net::{
    TcpStream,
    tcp::{OwnedReadHalf, OwnedWriteHalf},
};

use super::ServerUrl;
#[cfg(simulation)]
pub(super) use crate::simulation::{OwnedReadHalf, OwnedWriteHalf, TcpStream};

/// Opens a connection of the `redis` crate.
#[cfg(not(simulation))]
pub(super) async fn multiplexed(url: &ServerUrl, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
    redis::Client::open(url.info())?.get_multiplexed_async_connection_with_config(config).await
}

/// The same over a simulated socket. Its task ends with the last handle.
#[cfg(simulation)]
pub(super) async fn multiplexed(url: &ServerUrl, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
    let socket = TcpStream::connect(url.address()).await?;
    let info = url.info();
    let opened = MultiplexedConnection::new_with_config(info.redis_settings(), socket, config.clone()).await;
    let (connection, driver) = opened?;
    tokio::spawn(driver);
    Ok(connection)
}
