//! The pods' network and the node's address on it, and taking both away again.
//!
//! The node's address is the bridge's own, so that nothing listens on an address
//! that others can reach, and the cluster does not depend on the machine's network.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io::Write};

/// The bridge that pods are attached to.
pub const BRIDGE: &str = "coffer0";
/// The node's name in Kubernetes.
pub const NODE_NAME: &str = "node";
/// The bridge's address: the node's InternalIP.
pub const NODE_IP: &str = "10.244.0.1";
/// The pods' addresses.
pub const POD_NETWORK: &str = "10.244.0.0/16";
/// The Services' addresses.
pub const SERVICE_NETWORK: &str = "10.96.0.0/16";
/// The API server's Service.
pub const API_SERVICE_IP: &str = "10.96.0.1";
/// The DNS Service.
pub const DNS_SERVICE_IP: &str = "10.96.0.10";
/// What a route costs that is used only where there is no other.
const LAST_RESORT: &str = "4096";
/// Where the CNI library keeps what it made for each pod.
const CNI_RESULTS: &str = "/var/lib/cni/results";
/// The CNI network's name, which marks our firewall rules.
pub const CNI_NETWORK: &str = "coffer-e2e";

/// Kernel settings that we, the kubelet or kube-proxy change; put back on the way down.
const SETTINGS: [&str; 10] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/netfilter/nf_conntrack_max",
];

/// Make the bridge with the node's address, and let the kernel forward.
///
/// # Errors
/// If a step fails, with the tool's own words.
pub fn ensure() -> Result<()> {
    if !Path::new("/sys/class/net").join(BRIDGE).exists() {
        // A fixed hardware address: a bridge without one changes it with its first port.
        run("ip", &["link", "add", BRIDGE, "address", "0a:58:0a:f4:00:01", "type", "bridge"])?;
    }
    run("ip", &["address", "replace", &format!("{NODE_IP}/16"), "dev", BRIDGE])?;
    run("ip", &["link", "set", BRIDGE, "up"])?;
    // So that the API server reaches webhooks' Services also where there is no default route.
    run("ip", &["route", "replace", SERVICE_NETWORK, "dev", BRIDGE, "src", NODE_IP])?;
    // Were the bridge taken away under a running cluster, its traffic would leave by the default route.
    for network in [POD_NETWORK, SERVICE_NETWORK] {
        run("ip", &["route", "replace", "unreachable", network, "metric", LAST_RESORT])?;
    }
    set("net/ipv4/ip_forward", "1")?;
    if setting("net/bridge/bridge-nf-call-iptables").is_none() {
        // Built in or already loaded on most machines; where it is missing the next line tells.
        let _ = run("modprobe", &["br_netfilter"]);
    }
    set("net/bridge/bridge-nf-call-iptables", "1")
}

/// Keep the kernel settings as they are now, to be put back by [`restore_settings`].
///
/// # Errors
/// If the file cannot be written.
pub fn remember_settings(file: &Path) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    let lines: String =
        SETTINGS.iter().filter_map(|name| Some(format!("{name} {}\n", setting(name)?))).collect();
    crate::layout::write_file(file, lines)
}

/// Put back what [`remember_settings`] kept; what cannot be put back is left.
pub fn restore_settings(file: &Path) {
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        if let Some((name, value)) = line.split_once(' ')
            && setting(name).is_some_and(|now| now != value)
        {
            // A setting may be read-only in a container: then nobody changed it either.
            let _ = set(name, value);
        }
    }
}

/// Remove the bridge, what is attached to it, our routes, and every firewall rule of kube-proxy, the kubelet and
/// the CNI plugins.
///
/// # Errors
/// If something of it is still there afterwards.
pub fn remove() -> Result<()> {
    // Pods' ends go with the pods, but not before their last unanswered packets have been given up.
    for link in attached().iter().map(String::as_str).chain([BRIDGE]) {
        let device = Path::new("/sys/class/net").join(link);
        if device.exists()
            && let Err(error) = run("ip", &["link", "delete", link])
            // The kernel may have taken it away meanwhile, with the network of its pod.
            && device.exists()
        {
            return Err(error);
        }
    }
    for network in [POD_NETWORK, SERVICE_NETWORK] {
        // Absent after a restart of the machine.
        let _ = run("ip", &["route", "delete", "unreachable", network, "metric", LAST_RESORT]);
    }
    for family in ["iptables", "ip6tables"] {
        remove_chains(family)?;
    }
    remove_results();
    Ok(())
}

/// The node's ends of the pods' links: those on the bridge, and those the CNI library remembers.
fn attached() -> Vec<String> {
    let on_bridge = entries(&Path::new("/sys/class/net").join(BRIDGE).join("brif"));
    let mut links: Vec<String> =
        on_bridge.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    for file in results() {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let Ok(result) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
        let interfaces = result["result"]["interfaces"].as_array().cloned().unwrap_or_default();
        let names = interfaces.iter().filter_map(|interface| interface["name"].as_str());
        links.extend(names.filter(|name| name.starts_with("veth")).map(str::to_owned));
    }
    links.sort();
    links.dedup();
    links
}

/// What the CNI library keeps of our network.
fn results() -> Vec<PathBuf> {
    let prefix = format!("{CNI_NETWORK}-");
    let mut files = entries(Path::new(CNI_RESULTS));
    files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)));
    files
}

fn remove_results() {
    for file in results() {
        // Only a note; a later run of the same network overwrites it.
        let _ = fs::remove_file(file);
    }
    for folder in Path::new(CNI_RESULTS).ancestors().take(2) {
        // Only if nobody else's are left.
        let _ = fs::remove_dir(folder);
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn remove_chains(family: &str) -> Result<()> {
    let Ok(rules) = run(&format!("{family}-save"), &[]) else { return Ok(()) };
    let script = removal(&rules);
    if script.is_empty() {
        return Ok(());
    }
    let mut restore = Command::new(format!("{family}-restore"))
        .args(["--noflush", "--wait"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {family}-restore"))?;
    restore.stdin.take().context("its input is piped")?.write_all(script.as_bytes()).context("send rules")?;
    let output = restore.wait_with_output().context("wait for the firewall")?;
    if !output.status.success() {
        bail!("{family}-restore: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// What `iptables-restore --noflush` must do to take our chains, and only them, out of `rules`.
fn removal(rules: &str) -> String {
    let mut script = String::new();
    let mut table = "";
    let mut ours: Vec<&str> = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    let mark = format!("name: \\\"{CNI_NETWORK}\\\"");
    for line in rules.lines() {
        if let Some(name) = line.strip_prefix('*') {
            (table, ours, lines) = (name, Vec::new(), Vec::new());
        } else if let Some(chain) = line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) {
            if chain.starts_with("KUBE-") {
                ours.push(chain);
            }
        } else if line.starts_with("-A ") {
            if line.contains(&mark) {
                ours.extend(line.split(' ').filter(|word| word.starts_with("CNI-")));
            }
            lines.push(line);
        } else if line == "COMMIT" && !ours.is_empty() {
            ours.sort_unstable();
            ours.dedup();
            script.push_str(&format!("*{table}\n"));
            for line in &lines {
                let mut words = line.split(' ').skip(1);
                let from_ours = words.next().is_some_and(|chain| ours.contains(&chain));
                if !from_ours && words.any(|word| ours.contains(&word)) {
                    script.push_str(&format!("-D {}\n", &line["-A ".len()..]));
                }
            }
            for verb in ["-F", "-X"] {
                for chain in &ours {
                    script.push_str(&format!("{verb} {chain}\n"));
                }
            }
            script.push_str("COMMIT\n");
        }
    }
    script
}

fn setting(name: &str) -> Option<String> {
    Some(fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().to_owned())
}

fn set(name: &str, value: &str) -> Result<()> {
    if setting(name).as_deref() == Some(value) {
        return Ok(());
    }
    fs::write(Path::new("/proc/sys").join(name), value).with_context(|| format!("set {name} to {value}"))
}

/// Run a tool to its end; its output.
fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_chains_and_the_jumps_to_them_are_removed() {
        let rules = r#"*nat
:PREROUTING ACCEPT [0:0]
:CNI-0123 - [0:0]
:CNI-9999 - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -p tcp -j DOCKER
-A POSTROUTING -s 10.244.0.2/32 -m comment --comment "name: \"coffer-e2e\" id: \"ab\"" -j CNI-0123
-A POSTROUTING -s 10.9.0.2/32 -m comment --comment "name: \"others\" id: \"cd\"" -j CNI-9999
-A CNI-0123 -d 10.244.0.0/16 -m comment --comment "name: \"coffer-e2e\" id: \"ab\"" -j ACCEPT
-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC
COMMIT
*filter
:INPUT ACCEPT [0:0]
-A INPUT -j ACCEPT
COMMIT
"#;
        let expected = r#"*nat
-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-D POSTROUTING -s 10.244.0.2/32 -m comment --comment "name: \"coffer-e2e\" id: \"ab\"" -j CNI-0123
-F CNI-0123
-F KUBE-SERVICES
-X CNI-0123
-X KUBE-SERVICES
COMMIT
"#;
        assert_eq!(removal(rules), expected);
    }

    #[test]
    fn a_firewall_without_our_chains_is_left_alone() {
        assert_eq!(removal("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DOCKER\nCOMMIT\n"), "");
    }
}
