//! Calls about the input and output of processes.

use agent_client::agent;
use protobuf::well_known_types::empty::Empty;

use super::Service;
use crate::{container::Output, error::Result};

impl Service {
    pub(super) async fn write_stdin(
        &self,
        request: agent::WriteStreamRequest,
    ) -> Result<agent::WriteStreamResponse> {
        let process = self
            .0
            .container(&request.container_id)?
            .find(&request.exec_id)?;
        process.write(&request.data).await?;
        Ok(agent::WriteStreamResponse {
            len: u32::try_from(request.data.len()).unwrap_or(u32::MAX),
            ..Default::default()
        })
    }

    pub(super) async fn read_stdout(
        &self,
        request: agent::ReadStreamRequest,
    ) -> Result<agent::ReadStreamResponse> {
        self.read(&request, Output::Standard).await
    }

    pub(super) async fn read_stderr(
        &self,
        request: agent::ReadStreamRequest,
    ) -> Result<agent::ReadStreamResponse> {
        self.read(&request, Output::Error).await
    }

    async fn read(
        &self,
        request: &agent::ReadStreamRequest,
        output: Output,
    ) -> Result<agent::ReadStreamResponse> {
        let process = self
            .0
            .container(&request.container_id)?
            .find(&request.exec_id)?;
        let wanted = usize::try_from(request.len).unwrap_or(usize::MAX);
        Ok(agent::ReadStreamResponse {
            data: process.read(output, wanted).await?,
            ..Default::default()
        })
    }

    pub(super) async fn close_stdin(&self, request: agent::CloseStdinRequest) -> Result<Empty> {
        self.0
            .container(&request.container_id)?
            .find(&request.exec_id)?
            .close_input();
        Ok(Empty::new())
    }

    pub(super) async fn tty_win_resize(
        &self,
        request: agent::TtyWinResizeRequest,
    ) -> Result<Empty> {
        let process = self
            .0
            .container(&request.container_id)?
            .find(&request.exec_id)?;
        process.resize(request.row, request.column)?;
        Ok(Empty::new())
    }
}
