//! Calls that wait for a process, and what their answers mean.

use protobuf::Message;
use ttrpc::Code;

use super::{
    Agent,
    call::{Class, Method, Reply},
};
use crate::{
    MAX_DATA, agent,
    error::{Error, Result},
};

impl Agent {
    /// Waits until a process has ended, and returns its exit code (128 and the signal's number if
    /// a signal ended it). Ask once for each process: the agent then forgets it.
    ///
    /// # Errors
    ///
    /// Those of a call. There is no deadline.
    pub async fn wait_process(&self, request: agent::WaitProcessRequest) -> Result<i32> {
        let method = Method::agent("WaitProcess", Class::LongPoll, Reply::Structured);
        let reply: agent::WaitProcessResponse = self.call(&method, &request).await?;
        Ok(reply.status)
    }

    /// Waits for an out-of-memory kill and returns the container's identifier, as the guest
    /// states it.
    ///
    /// # Errors
    ///
    /// Those of a call. There is no deadline.
    pub async fn get_oom_event(&self) -> Result<String> {
        let method = Method::agent("GetOOMEvent", Class::LongPoll, Reply::Structured);
        let request = agent::GetOOMEventRequest::new();
        let reply: agent::OOMEvent = self.call(&method, &request).await?;
        Ok(reply.container_id)
    }

    /// Hands data to a process and returns how many bytes were taken. Waits while the process does
    /// not read.
    ///
    /// # Errors
    ///
    /// Those of a call. There is no deadline.
    pub async fn write_stdin(&self, request: agent::WriteStreamRequest) -> Result<usize> {
        let method = Method::agent("WriteStdin", Class::LongPoll, Reply::Structured);
        let reply: agent::WriteStreamResponse = self.call(&method, &request).await?;
        let (taken, given) = (reply.len as usize, request.data.len());
        if taken > given {
            return Err(Error::InvalidReply {
                call: method.name,
                reason: format!("{taken} bytes taken of {given}"),
            });
        }
        Ok(taken)
    }

    /// Waits for output of a process, at most `len` bytes or [`MAX_DATA`] less a few. Empty means
    /// the end of the file, which is also what an agent means that no longer knows the process.
    ///
    /// # Errors
    ///
    /// Those of a call. There is no deadline.
    pub async fn read_stdout(&self, request: agent::ReadStreamRequest) -> Result<Vec<u8>> {
        self.read("ReadStdout", request).await
    }

    /// Waits for error output of a process, as [`Agent::read_stdout`] does for output.
    ///
    /// # Errors
    ///
    /// Those of a call. There is no deadline.
    pub async fn read_stderr(&self, request: agent::ReadStreamRequest) -> Result<Vec<u8>> {
        self.read("ReadStderr", request).await
    }

    async fn read(
        &self,
        name: &'static str,
        mut request: agent::ReadStreamRequest,
    ) -> Result<Vec<u8>> {
        /// Field number and length of the data, on the wire.
        const AROUND: usize = 16;
        let len = (request.len as usize).min(MAX_DATA - AROUND);
        request.len = u32::try_from(len).unwrap_or(u32::MAX);
        let method = Method::agent(name, Class::LongPoll, Reply::OneString);
        match self.call(&method, &request).await {
            Ok(agent::ReadStreamResponse { data, .. }) if data.len() <= len => Ok(data),
            Ok(reply) => Err(Error::ReplyTooLarge {
                call: name,
                bytes: usize::try_from(reply.compute_size()).unwrap_or(usize::MAX),
                max: len,
            }),
            Err(error) if error.code().is_some_and(means_end) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// The codes by which agents say that a process, or its output, is no more: a stock agent has used
/// all three. Refusals (`PERMISSION_DENIED`, `UNIMPLEMENTED`) are not among them.
fn means_end(code: Code) -> bool {
    matches!(
        code,
        Code::NOT_FOUND | Code::INTERNAL | Code::INVALID_ARGUMENT
    )
}
