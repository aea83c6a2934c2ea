//! The keys of `[agent.kata]`.

use super::{
    super::{
        key::Key,
        schema::{
            Kind::{Bool, Path, Text, TextList},
            Rule, Section,
        },
        tree::Table,
    },
    COUNT, empty, fixed, number, unused,
};

pub const SECTION: Section = Section {
    name: "[agent.kata]",
    keys: &[READ, OTHER],
};

/// A day, in seconds: no wait is longer.
const DAY: i64 = 24 * 60 * 60;
const NO_PULL: &str = "images are not pulled in the guest";
const FIXED_PORT: &str = "the agent's port is fixed";

read_keys! { READ {
    ENABLE_DEBUG: bool = Key::switch("enable_debug");
    DIAL_TIMEOUT: u64 = Key::count("dial_timeout", 0, DAY);
    /// Kata's Rust runtime has the key here, its Go runtime in `[runtime]`.
    CREATE_CONTAINER_TIMEOUT: u64 = Key::count("create_container_timeout", 1, DAY).alias();
    REQUEST_TIMEOUT_MS: u64 = Key::count("request_timeout_ms", 1, DAY * 1000);
    HEALTH_CHECK_REQUEST_TIMEOUT_MS: u64 =
        Key::count("health_check_request_timeout_ms", 1, DAY * 1000);
    MEM_AGENT: Table = Key::table("mem_agent");
} }

const OTHER: &[Rule] = &[
    fixed("enable_tracing", false, "calls are not traced; write false"),
    unused("trace_mode", Text, "calls are not traced"),
    unused("trace_type", Text, "calls are not traced"),
    empty(
        "kernel_modules",
        TextList,
        "modules belong into the guest's image; write []",
    ),
    fixed(
        "debug_console_enabled",
        false,
        "guests have no shell for the host; write false",
    ),
    unused(
        "dial_timeout_ms",
        COUNT,
        "each attempt's time is chosen for you; see dial_timeout",
    ),
    unused("reconnect_timeout_ms", COUNT, "see dial_timeout"),
    unused("log_level", Text, "see enable_debug"),
    unused("cdh_api_timeout", COUNT, NO_PULL),
    unused("cdh_api_timeout_ms", COUNT, NO_PULL),
    unused("image_pull_timeout", COUNT, NO_PULL),
    unused("launch_process_timeout", COUNT, NO_PULL),
    number(
        "container_pipe_size",
        0,
        "pipes have the kernel's size; write 0",
    ),
    number("server_port", 1024, "the agent's port is fixed; write 1024"),
    unused("log_port", COUNT, FIXED_PORT),
    unused("passfd_listener_port", COUNT, FIXED_PORT),
    empty("policy", Text, "the agent has no policy; write \"\""),
    unused(
        "config_file",
        Path,
        "the agent is configured on the kernel command line",
    ),
];

/// `[agent.kata.mem_agent]`, which must ask for nothing.
pub const MEM_AGENT_SECTION: Section = Section {
    name: "[agent.kata.mem_agent]",
    keys: &[&[
        fixed(
            "mem_agent_enable",
            false,
            "guest memory is not reclaimed; write false",
        ),
        unused("memcg_disable", Bool, NO_MEM_AGENT),
        unused("memcg_swap", Bool, NO_MEM_AGENT),
        unused("memcg_swappiness_max", COUNT, NO_MEM_AGENT),
        unused("memcg_period_secs", COUNT, NO_MEM_AGENT),
        unused("memcg_period_psi_percent_limit", COUNT, NO_MEM_AGENT),
        unused("memcg_eviction_psi_percent_limit", COUNT, NO_MEM_AGENT),
        unused("memcg_eviction_run_aging_count_min", COUNT, NO_MEM_AGENT),
        unused("compact_disable", Bool, NO_MEM_AGENT),
        unused("compact_period_secs", COUNT, NO_MEM_AGENT),
        unused("compact_period_psi_percent_limit", COUNT, NO_MEM_AGENT),
        unused("compact_psi_percent_limit", COUNT, NO_MEM_AGENT),
        unused("compact_sec_max", COUNT, NO_MEM_AGENT),
        unused("compact_order", COUNT, NO_MEM_AGENT),
        unused("compact_threshold", COUNT, NO_MEM_AGENT),
        unused("compact_force_times", COUNT, NO_MEM_AGENT),
    ]],
};
const NO_MEM_AGENT: &str = "guest memory is not reclaimed";
