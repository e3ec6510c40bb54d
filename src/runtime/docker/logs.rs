//! A container's log, standard output and standard error told apart.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{DockerRuntime, error, in_path};
use crate::observed::ContainerId;
use crate::runtime::{LogChunk, LogQuery, Result};

impl DockerRuntime {
    pub(super) async fn container_logs(
        &self,
        id: &ContainerId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        // A follower of a silent container gets no first answer for long: ask now whether there is one.
        self.inspect(&id.0).await?;
        let tail = query
            .tail
            .map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let since = query.since.map_or(0, |moment| {
            i32::try_from(moment.as_second()).unwrap_or(i32::MAX)
        });
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .follow(query.follow)
            .timestamps(query.timestamps)
            .tail(&tail)
            .since(since)
            .build();
        let address = self.address.clone();
        Ok(self
            .docker
            .logs(in_path("logs", &id.0)?, Some(options))
            .map(move |chunk| match chunk {
                Ok(chunk) => Ok(LogChunk {
                    stderr: matches!(chunk, LogOutput::StdErr { .. }),
                    bytes: chunk.into_bytes(),
                }),
                Err(cause) => Err(error::map("logs", &address, cause)),
            })
            .boxed())
    }
}
