//! The node's processes: their configuration and command lines.

use super::network::{BRIDGE, CNI_NETWORK, DNS_SERVICE_IP, NODE_IP, NODE_NAME, POD_NETWORK, SERVICE_NETWORK};
use crate::images::PAUSE;
use crate::layout::{KUBELET_ROOT, Layout, write_file};
use crate::process::{Process, Supervised};
use crate::programs::Programs;
use anyhow::{Context, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Where etcd answers, also in plain JSON.
pub const ETCD_URL: &str = "http://127.0.0.1:2379";

/// One process of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The store of the API server.
    Etcd,
    /// The container runtime.
    Containerd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// The kubelet.
    Kubelet,
    /// kube-proxy.
    Proxy,
}

impl Component {
    /// All, in the order in which they start.
    pub const ALL: [Self; 7] = [
        Self::Etcd,
        Self::Containerd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::Proxy,
    ];

    /// Its name in pid files, logs and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Containerd => "containerd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
        }
    }

    /// Its pid file and log.
    #[must_use]
    pub fn supervised(self, layout: &Layout) -> Supervised {
        let name = self.name();
        Supervised {
            name: name.to_owned(),
            pid_file: layout.pid_file(name),
            log: layout.logs().join(format!("{name}.log")),
        }
    }

    /// Start it if it does not run.
    ///
    /// # Errors
    /// If its configuration cannot be written or it ends at once.
    pub fn ensure(self, layout: &Layout, programs: &Programs) -> Result<Process> {
        let supervised = self.supervised(layout);
        if let Some(process) = supervised.running() {
            return Ok(process);
        }
        self.write_config(layout, programs)?;
        let (program, arguments) = match self {
            Self::Containerd => {
                (programs.containerd(), vec!["--config".into(), text(&layout.config("containerd.toml"))])
            }
            Self::Etcd
            | Self::ApiServer
            | Self::ControllerManager
            | Self::Scheduler
            | Self::Kubelet
            | Self::Proxy => {
                let mut arguments = vec![self.name().to_owned()];
                arguments.extend(self.arguments(layout));
                (programs.kube(), arguments)
            }
        };
        let path = format!(
            "{}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
            programs.node().display()
        );
        supervised.start(&program, &arguments, &path)
    }

    fn arguments(self, layout: &Layout) -> Vec<String> {
        match self {
            Self::Containerd => Vec::new(),
            Self::Etcd => etcd(layout),
            Self::ApiServer => api_server(layout),
            Self::ControllerManager => controller_manager(layout),
            Self::Scheduler => {
                let mut arguments = as_client(layout, "scheduler");
                arguments.extend(["--bind-address=127.0.0.1".into(), "--leader-elect=false".into()]);
                arguments
            }
            Self::Kubelet => vec![
                flag("kubeconfig", &layout.kubeconfig("kubelet")),
                flag("config", &layout.config("kubelet.json")),
                format!("--root-dir={KUBELET_ROOT}"),
                format!("--hostname-override={NODE_NAME}"),
                format!("--node-ip={NODE_IP}"),
            ],
            Self::Proxy => vec![
                flag("kubeconfig", &layout.kubeconfig("proxy")),
                "--proxy-mode=iptables".into(),
                format!("--cluster-cidr={POD_NETWORK}"),
                format!("--hostname-override={NODE_NAME}"),
                "--metrics-bind-address=127.0.0.1:10249".into(),
                "--healthz-bind-address=127.0.0.1:10256".into(),
                // Kernel-wide settings are not ours to change.
                "--conntrack-max-per-core=0".into(),
                "--conntrack-tcp-timeout-established=0".into(),
                "--conntrack-tcp-timeout-close-wait=0".into(),
                "--oom-score-adj=0".into(),
            ],
        }
    }

    fn write_config(self, layout: &Layout, programs: &Programs) -> Result<()> {
        match self {
            Self::Containerd => {
                write_file(&layout.config("containerd.toml"), containerd(layout, programs))?;
                write_file(
                    &layout.cni().join("10-pods.conflist"),
                    serde_json::to_string_pretty(&cni(layout))?,
                )
            }
            Self::Kubelet => {
                write_file(&layout.config("kubelet.json"), serde_json::to_string_pretty(&kubelet(layout))?)
            }
            Self::Etcd | Self::ApiServer | Self::ControllerManager | Self::Scheduler | Self::Proxy => Ok(()),
        }
        .with_context(|| format!("configure {}", self.name()))
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// Empty; made by kubelet and controllers if absent, so it had better go with the rest.
fn volume_plugins(layout: &Layout) -> PathBuf {
    layout.state().join("volume-plugins")
}

fn as_client(layout: &Layout, identity: &str) -> Vec<String> {
    let kubeconfig = layout.kubeconfig(identity);
    ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
        .iter()
        .map(|name| flag(name, &kubeconfig))
        .collect()
}

fn etcd(layout: &Layout) -> Vec<String> {
    vec![
        flag("data-dir", &layout.etcd()),
        format!("--listen-client-urls={ETCD_URL}"),
        format!("--advertise-client-urls={ETCD_URL}"),
        "--listen-peer-urls=http://127.0.0.1:2380".into(),
        // Outlives a killed process, not a power cut: after one the cluster is made afresh.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

fn api_server(layout: &Layout) -> Vec<String> {
    let pki = layout.pki();
    let mut arguments = vec![
        format!("--etcd-servers={ETCD_URL}"),
        format!("--bind-address={NODE_IP}"),
        format!("--advertise-address={NODE_IP}"),
        "--secure-port=6443".into(),
        format!("--service-cluster-ip-range={SERVICE_NETWORK}"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
    ];
    let files = [
        ("tls-cert-file", "apiserver.crt"),
        ("tls-private-key-file", "apiserver.key"),
        ("client-ca-file", "ca.crt"),
        ("service-account-key-file", "sa.crt"),
        ("service-account-signing-key-file", "sa.key"),
        ("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
        ("kubelet-client-key", "apiserver-kubelet-client.key"),
        ("kubelet-certificate-authority", "ca.crt"),
        ("requestheader-client-ca-file", "front-proxy-ca.crt"),
        ("proxy-client-cert-file", "front-proxy.crt"),
        ("proxy-client-key-file", "front-proxy.key"),
    ];
    arguments.extend(files.map(|(name, file)| flag(name, &pki.join(file))));
    arguments
}

fn controller_manager(layout: &Layout) -> Vec<String> {
    let pki = layout.pki();
    let mut arguments = as_client(layout, "controller-manager");
    arguments.extend([
        flag("root-ca-file", &pki.join("ca.crt")),
        flag("service-account-private-key-file", &pki.join("sa.key")),
        flag("cluster-signing-cert-file", &pki.join("ca.crt")),
        flag("cluster-signing-key-file", &pki.join("ca.key")),
        flag("flex-volume-plugin-dir", &volume_plugins(layout)),
        "--bind-address=127.0.0.1".into(),
        "--use-service-account-credentials=true".into(),
        "--leader-elect=false".into(),
        "--allocate-node-cidrs=false".into(),
    ]);
    arguments
}

fn kubelet(layout: &Layout) -> serde_json::Value {
    let pki = layout.pki();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "address": NODE_IP,
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": pki.join("kubelet-server.crt"),
        "tlsPrivateKeyFile": pki.join("kubelet-server.key"),
        "clusterDNS": [DNS_SERVICE_IP],
        "clusterDomain": "cluster.local",
        // Nothing outside the cluster is looked up.
        "resolvConf": "",
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        "podLogsDir": layout.pod_logs(),
        "volumePluginDir": volume_plugins(layout),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "maxPods": 250,
        // A full disk of a developer's machine must neither evict pods nor remove images that no registry has.
        "evictionHard": {"imagefs.available": "1%", "nodefs.available": "1%", "memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        // How often volumes that ask for it are published again: a stock node has 1m.
        "syncFrequency": "10s",
    })
}

fn containerd(layout: &Layout, programs: &Programs) -> String {
    let root = layout.containerd_root();
    let run = layout.containerd_run();
    let socket = layout.containerd_socket();
    let cni = layout.cni();
    // Strings are quoted as Rust quotes them, which for paths is TOML's way too.
    format!(
        r#"version = 3
root = {root:?}
state = {run:?}
[grpc]
  address = {socket:?}
[ttrpc]
  address = "{socket_text}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = {opt:?}
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [{cni_programs:?}]
    use_internal_loopback = true
    conf_dir = {cni:?}
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = {runc:?}
        Root = {runc_root:?}
        SystemdCgroup = false
"#,
        socket_text = socket.display(),
        cni_programs = programs.cni(),
        opt = root.join("opt"),
        runc = programs.runc(),
        runc_root = layout.run().join("runc"),
    )
}

fn cni(layout: &Layout) -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": CNI_NETWORK,
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "ipMasq": true,
            "ipMasqBackend": "iptables",
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": layout.run().join("addresses"),
                "ranges": [[{"subnet": POD_NETWORK, "gateway": NODE_IP}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}
