//! The VMM's command line. The VM itself is described over the API.

use super::ClhConfig;

/// Its arguments. It has the socket that its API listens on as its standard input, and writes its
/// events on its standard output: both are there before it starts, so neither is waited for.
pub fn arguments(config: &ClhConfig) -> Vec<String> {
    let mut arguments = vec![
        String::from("--api-socket"),
        String::from("fd=0"),
        String::from("--event-monitor"),
        String::from("fd=1"),
        String::from("--seccomp"),
        config.seccomp.to_string(),
    ];
    if config.landlock.is_some() {
        arguments.push(String::from("--landlock"));
    }
    if config.verbosity > 0 {
        arguments.push(format!("-{}", "v".repeat(config.verbosity.min(3).into())));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vmm_is_confined_unless_an_operator_says_otherwise() {
        let line = |config: &ClhConfig| arguments(config).join(" ");
        let usual = "--api-socket fd=0 --event-monitor fd=1 --seccomp true";
        assert_eq!(line(&ClhConfig::default()), usual);
        let config = ClhConfig {
            seccomp: false,
            landlock: Some(Vec::new()),
            verbosity: 9,
            ..ClhConfig::default()
        };
        let open = "--api-socket fd=0 --event-monitor fd=1 --seccomp false --landlock -vvv";
        assert_eq!(line(&config), open);
    }
}
