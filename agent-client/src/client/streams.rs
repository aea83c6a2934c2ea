//! Calls that wait for a process or an event.

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
    /// Waits until a process has ended, and returns its exit code, or 128 plus the signal that
    /// ended it. May be called once for each process: the stock agent then forgets it.
    ///
    /// # Errors
    ///
    /// See [`Error`]. There is no deadline.
    pub async fn wait_process(&self, request: agent::WaitProcessRequest) -> Result<i32> {
        let method = Method::agent("WaitProcess", Class::LongPoll, Reply::Structured);
        let reply: agent::WaitProcessResponse = self.call(&method, &request).await?;
        Ok(reply.status)
    }

    /// Waits for an out-of-memory kill, and returns the container's identifier as the guest reports
    /// it. It need not be that of a container.
    ///
    /// # Errors
    ///
    /// See [`Error`]. There is no deadline.
    pub async fn get_oom_event(&self) -> Result<String> {
        let method = Method::agent("GetOOMEvent", Class::LongPoll, Reply::Structured);
        let request = agent::GetOOMEventRequest::new();
        let reply: agent::OOMEvent = self.call(&method, &request).await?;
        Ok(reply.container_id)
    }

    /// Writes data to a process's input, and returns how many bytes were accepted. Waits while the
    /// process does not read.
    ///
    /// # Errors
    ///
    /// See [`Error`]. There is no deadline.
    pub async fn write_stdin(&self, request: agent::WriteStreamRequest) -> Result<usize> {
        let method = Method::agent("WriteStdin", Class::LongPoll, Reply::Structured);
        let reply: agent::WriteStreamResponse = self.call(&method, &request).await?;
        let (taken, given) = (reply.len as usize, request.data.len());
        if taken > given {
            return Err(Error::InvalidReply {
                call: method.name,
                reason: format!("{taken} bytes accepted of {given}"),
            });
        }
        Ok(taken)
    }

    /// Waits for output of a process, and returns at most `len` bytes, or a few less than
    /// [`MAX_DATA`]. Empty at the end of the output, and when the agent does not know the process
    /// any more.
    ///
    /// # Errors
    ///
    /// See [`Error`]. There is no deadline.
    pub async fn read_stdout(&self, request: agent::ReadStreamRequest) -> Result<Vec<u8>> {
        self.read("ReadStdout", request).await
    }

    /// Like [`Agent::read_stdout`], for the error output.
    ///
    /// # Errors
    ///
    /// See [`Error`]. There is no deadline.
    pub async fn read_stderr(&self, request: agent::ReadStreamRequest) -> Result<Vec<u8>> {
        self.read("ReadStderr", request).await
    }

    async fn read(
        &self,
        name: &'static str,
        mut request: agent::ReadStreamRequest,
    ) -> Result<Vec<u8>> {
        /// Most bytes of the answer beside the data: the field number and the length.
        const OVERHEAD: usize = 16;
        let len = (request.len as usize).min(MAX_DATA - OVERHEAD);
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

/// Whether a code means that the process or its output does not exist any more. Versions of the
/// stock agent have used all three.
fn means_end(code: Code) -> bool {
    matches!(
        code,
        Code::NOT_FOUND | Code::INTERNAL | Code::INVALID_ARGUMENT
    )
}
