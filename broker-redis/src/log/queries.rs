//! Calls that read, over the shared connection, and what their errors mean: reads change nothing, so that no answer is
//! like no connection.

use std::sync::Arc;

use redis::{Pipeline, RedisError, RedisResult, Value};
use tidings::{
    broker::Error,
    metrics::{self, Call},
};
use tokio::time::timeout;

use crate::{
    connection::Connection,
    error,
    multiplexed::MultiplexedConnection,
    script::{self, Script},
};

/// What makes them.
#[derive(Clone)]
pub(crate) struct Queries {
    connection: Arc<Connection>,
}

impl Queries {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    /// Sends calls together, and returns all their answers.
    pub(crate) async fn all(&self, pipeline: &Pipeline, scripts: &[&Script]) -> Result<Vec<Value>, Error> {
        let answers = self.each(pipeline, scripts).await?;
        answers.into_iter().map(|answer| answer.map_err(|error| self.failed(&error))).collect()
    }

    /// Sends calls together and answers what each got, where the pipeline says that errors are to be reported one by
    /// one.
    pub(crate) async fn each(
        &self,
        pipeline: &Pipeline,
        scripts: &[&Script],
    ) -> Result<Vec<RedisResult<Value>>, Error> {
        let mut session = self.connection.session().await?;
        let limit = self.connection.timeout();
        let asked = timeout(limit, query(&mut session.connection, pipeline, scripts));
        let asked = metrics::timed(Call::Read, asked).await;
        let late = |_| Error::Unavailable("Redis did not answer in time".to_owned());
        asked.map_err(late)?.map_err(|error| self.failed(&error))
    }

    /// The answer about one channel, or an error of the channel or of the server.
    pub(crate) fn of_channel(&self, answer: RedisResult<Value>) -> Result<Value, Error> {
        answer.map_err(|error| match error::first(&error).map(|said| error::of_reading(&said)) {
            Some(error @ Error::Channel(_)) => error,
            _ => self.failed(&error),
        })
    }

    fn failed(&self, error: &RedisError) -> Error {
        match self.connection.failed(error) {
            Error::OutcomeUnknown(text) => Error::Unavailable(text),
            other => other,
        }
    }
}

async fn query(
    connection: &mut MultiplexedConnection,
    pipeline: &Pipeline,
    scripts: &[&Script],
) -> RedisResult<Vec<RedisResult<Value>>> {
    let answers: RedisResult<Vec<RedisResult<Value>>> = pipeline.query_async(connection).await;
    let is_missing = match &answers {
        Ok(answers) => answers.iter().any(|answer| answer.as_ref().is_err_and(script::is_missing)),
        Err(error) => script::is_missing(error),
    };
    if !is_missing {
        return answers;
    }
    for script in scripts {
        script.load(connection).await?;
    }
    pipeline.query_async(connection).await
}
