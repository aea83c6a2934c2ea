//! What the fake keeps of a VM between two calls, so that its answers fit together.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::Path,
};

use serde_json::{Value, json};

use crate::answers::{recorded, with_length};

/// A request: the last part of its path, and its body.
pub struct Request {
    pub name: String,
    pub body: Value,
    /// Descriptors that came along, by their numbers here. They stay open, as in a real one.
    pub passed: Vec<i32>,
}

impl Request {
    /// The request in `bytes`, if all of it is there, with what came along.
    pub fn parse(bytes: &[u8], passed: &[i32]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        let length = length.unwrap_or(0);
        if body.len() < length {
            return None;
        }
        let path = head.split(' ').nth(1)?;
        Some(Self {
            name: path.rsplit('/').next()?.to_owned(),
            body: serde_json::from_str(&body[..length]).unwrap_or(Value::Null),
            passed: passed.to_vec(),
        })
    }
}

/// A VM, as far as the API shows it.
#[derive(Default)]
pub struct Machine {
    state: &'static str,
    config: Value,
    devices: BTreeSet<String>,
    /// It was asked to end.
    pub over: bool,
}

impl Machine {
    /// The answer to a call, after what the call does.
    pub fn answer(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        let body = &request.body;
        match request.name.as_str() {
            "vm.create" => {
                self.config = body.clone();
                self.state = "Created";
            }
            "vm.boot" => {
                self.listen()?;
                self.become_("Running", "booted")?;
            }
            "vm.pause" if self.state == "Paused" => return Ok(recorded("vm.pause-again")),
            "vm.pause" => self.become_("Paused", "paused")?,
            "vm.resume" if self.state == "Running" => return Ok(recorded("vm.resume-again")),
            "vm.resume" => self.become_("Running", "resumed")?,
            "vm.snapshot" if self.state != "Paused" => return Ok(recorded("vm.snapshot-running")),
            "vm.snapshot" => self.save(directory(body, "destination_url"))?,
            "vm.restore" if promised(body) != request.passed.len() => {
                return Ok(recorded("bad-request"));
            }
            "vm.restore" if misses_tap(body) => return Ok(recorded("vm.restore-without-tap")),
            "vm.restore" => match self.load(directory(body, "source_url")) {
                Ok(()) => self.become_("Paused", "restored")?,
                Err(_) => return Ok(recorded("vm.restore-missing")),
            },
            "vm.info" => return Ok(self.info()),
            "vm.add-net" if self.state == "Created" => return Ok(self.describe_net(request)),
            "vm.add-disk" | "vm.add-net" => {
                let id = body["id"].as_str().unwrap_or_default().to_owned();
                if !self.devices.insert(id) {
                    return Ok(recorded("vm.add-disk-again"));
                }
            }
            "vm.remove-device" => {
                let id = body["id"].as_str().unwrap_or_default();
                if !self.devices.remove(id) {
                    return Ok(recorded("vm.remove-device-unknown"));
                }
                self.tell(
                    "vm",
                    "device-removed",
                    &[("id", id), ("bdf", "0000:00:05.0")],
                )?;
            }
            "vmm.shutdown" => self.over = true,
            _ => {}
        }
        Ok(recorded(&request.name))
    }

    /// Tells an event, in the form in which a real one tells it.
    pub fn tell(&self, source: &str, event: &str, properties: &[(&str, &str)]) -> io::Result<()> {
        let properties: serde_json::Map<_, _> = properties
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let message = json!({
            "timestamp": {"secs": 0, "nanos": 1},
            "source": source,
            "event": event,
            "properties": if properties.is_empty() { Value::Null } else { properties.into() },
        });
        let mut out = io::stdout();
        out.write_all(format!("{}\n\n", serde_json::to_string_pretty(&message)?).as_bytes())?;
        out.flush()
    }

    fn become_(&mut self, state: &'static str, event: &str) -> io::Result<()> {
        self.state = state;
        self.tell("vm", event, &[])
    }

    fn info(&self) -> Vec<u8> {
        let whole = String::from_utf8(recorded("vm.info")).unwrap_or_default();
        let (head, body) = whole.split_once("\r\n\r\n").unwrap_or_default();
        let mut info: Value = serde_json::from_str(body).unwrap_or_default();
        info["state"] = json!(self.state);
        let disks = self.config["disks"].as_array().into_iter().flatten();
        for (place, device) in (1..).zip(self.nets().chain(disks)) {
            let id = device["id"].as_str().unwrap_or_default();
            let parent = format!("_virtio-pci-{id}");
            info["device_tree"][id] = json!({
                "id": id, "resources": [], "parent": parent, "children": [], "pci_bdf": null,
            });
            info["device_tree"][&parent] = json!({
                "id": parent, "resources": [], "parent": null, "children": [id],
                "pci_bdf": format!("0000:00:{place:02x}.0"),
            });
        }
        with_length(&format!("{head}\r\n\r\n"), &info.to_string())
    }

    fn nets(&self) -> impl Iterator<Item = &Value> {
        self.config["net"].as_array().into_iter().flatten()
    }

    /// Takes an interface for a VM that is not started. Without a tap a real one makes its own.
    fn describe_net(&mut self, request: &Request) -> Vec<u8> {
        let mut net = request.body.clone();
        if self.nets().any(|other| other["id"] == net["id"]) {
            return recorded("vm.add-net-again");
        }
        net["fds"] = match request.passed.as_slice() {
            [] => Value::Null,
            passed => json!(passed),
        };
        match &mut self.config["net"] {
            Value::Array(nets) => nets.push(net),
            none => *none = json!([net]),
        }
        recorded("vm.boot")
    }

    fn save(&self, dir: &Path) -> io::Result<()> {
        fs::write(dir.join("config.json"), self.config.to_string())?;
        let nets = self.nets().filter_map(|net| net["id"].as_str());
        let devices: serde_json::Map<_, _> = nets.map(|id| (id.to_owned(), saved_nic())).collect();
        let state = json!({"snapshots": {"device-manager": {"snapshots": devices}}});
        fs::write(dir.join("state.json"), state.to_string())
    }

    fn load(&mut self, dir: &Path) -> io::Result<()> {
        self.config = serde_json::from_slice(&fs::read(dir.join("config.json"))?)?;
        let state: Value = serde_json::from_slice(&fs::read(dir.join("state.json"))?)?;
        if !state.is_object() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.listen()
    }

    /// The vsock socket, on which no agent answers.
    fn listen(&self) -> io::Result<()> {
        let socket = self.config["vsock"]["socket"].as_str().unwrap_or_default();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::os::unix::net::UnixListener::bind(socket)?;
        fs::set_permissions(socket, mode)
    }
}

/// What is saved of a network interface, by a version that offers its guest to announce itself.
fn saved_nic() -> Value {
    let features =
        json!({"avail_features": 1 << 21 | 1 << 5 | 1, "acked_features": 1 << 21 | 1 << 5 | 1});
    json!({"snapshots": {}, "snapshot_data": {"state": features.to_string()}})
}

/// How many descriptors a restore says come along.
fn promised(body: &Value) -> usize {
    let nets = body["net_fds"].as_array().into_iter().flatten();
    let each = nets.filter_map(|net| net["num_fds"].as_u64());
    usize::try_from(each.sum::<u64>()).unwrap_or(usize::MAX)
}

/// Whether the saved VM has an interface whose tap does not come along.
fn misses_tap(body: &Value) -> bool {
    let path = directory(body, "source_url").join("config.json");
    let config = fs::read(path).unwrap_or_default();
    let config: Value = serde_json::from_slice(&config).unwrap_or_default();
    let given = |id: &Value| {
        let mut nets = body["net_fds"].as_array().into_iter().flatten();
        nets.any(|net| net["id"] == *id)
    };
    let mut nets = config["net"].as_array().into_iter().flatten();
    nets.any(|net| !net["fds"].is_null() && !given(&net["id"]))
}

fn directory<'a>(body: &'a Value, key: &str) -> &'a Path {
    let url = body[key].as_str().unwrap_or_default();
    Path::new(url.strip_prefix("file://").unwrap_or_default())
}
