//! A guest that keeps what is copied into it in a directory.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use agent_client::{
    Agent,
    agent::{CopyFileRequest, GetDiagnosticDataRequest, GetDiagnosticDataResponse},
    agent_ttrpc::{AgentService, create_agent_service},
};
use async_trait::async_trait;
use futures::stream;
use oci::GUEST_SHARED;
use protobuf::well_known_types::empty::Empty;
use system::sync::Mutex;
use tempfile::TempDir;
use tokio::{io::duplex, sync::watch};
use ttrpc::asynchronous::{Server, TtrpcContext, transport::Listener};

/// The guest as a test sees it.
#[derive(Clone)]
pub(super) struct Guest(Arc<Inner>);

struct Inner {
    root: TempDir,
    /// Paths in the order of their copying.
    copied: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
    message: Mutex<String>,
    /// A server ends its connections when it is dropped.
    servers: Mutex<Vec<Server>>,
}

impl Guest {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            root: tempfile::tempdir().unwrap(),
            copied: Mutex::default(),
            count: watch::Sender::new(0),
            message: Mutex::default(),
            servers: Mutex::default(),
        }))
    }

    pub(super) async fn connect(&self) -> Agent {
        let (host, guest) = duplex(1 << 20);
        let listener = Listener::new(stream::iter([Ok(guest)]));
        let service = create_agent_service(Arc::new(self.clone()));
        let mut server = Server::new()
            .add_listener(listener)
            .register_service(service);
        server.start().await.unwrap();
        self.0.servers.lock().push(server);
        Agent::over(host)
    }

    /// Where a path of the guest is.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0
            .root
            .path()
            .join(Path::new(path).strip_prefix(GUEST_SHARED).unwrap())
    }

    pub(super) fn copied(&self) -> Vec<String> {
        self.0.copied.lock().clone()
    }

    /// Waits until a path of the guest holds this.
    pub(super) async fn until(&self, path: &str, content: &str) {
        let path = self.path(path);
        let mut count = self.0.count.subscribe();
        let there = count.wait_for(|_| fs::read_to_string(&path).is_ok_and(|is| is == content));
        let waited = tokio::time::timeout(std::time::Duration::from_secs(5), there);
        waited
            .await
            .unwrap_or_else(|_| panic!("{path:?} never held {content:?}"))
            .unwrap();
    }

    /// What the ended container has left.
    pub(super) fn leave_message(&self, message: &str) {
        message.clone_into(&mut self.0.message.lock());
    }

    fn write(&self, request: &CopyFileRequest) {
        let path = self.path(&request.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mode = fs::Permissions::from_mode(request.file_mode & 0o7777);
        match request.file_mode & 0o170_000 {
            0o040_000 => {
                fs::create_dir_all(&path).unwrap();
                fs::set_permissions(&path, mode).unwrap();
            }
            0o120_000 => {
                let aside = path.parent().unwrap().join(".aside");
                symlink(std::str::from_utf8(&request.data).unwrap(), &aside).unwrap();
                fs::rename(aside, path).unwrap();
            }
            _ => {
                let file = File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(&path);
                let file = file.unwrap();
                file.set_len(request.file_size.unsigned_abs()).unwrap();
                file.write_all_at(&request.data, request.offset.unsigned_abs())
                    .unwrap();
                fs::set_permissions(&path, mode).unwrap();
            }
        }
    }
}

#[async_trait]
impl AgentService for Guest {
    async fn copy_file(&self, _: &TtrpcContext, request: CopyFileRequest) -> ttrpc::Result<Empty> {
        self.write(&request);
        self.0.copied.lock().push(request.path);
        self.0.count.send_modify(|count| *count += 1);
        Ok(Empty::new())
    }

    async fn get_diagnostic_data(
        &self,
        _: &TtrpcContext,
        request: GetDiagnosticDataRequest,
    ) -> ttrpc::Result<GetDiagnosticDataResponse> {
        assert_eq!(request.log_type, "termination_log");
        let data = self.0.message.lock().clone();
        Ok(GetDiagnosticDataResponse {
            data,
            ..Default::default()
        })
    }
}
