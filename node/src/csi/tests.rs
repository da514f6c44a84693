//! gRPC over real unix sockets, as the kubelet speaks it.

#![allow(clippy::unwrap_used, reason = "a test's own set-up must not fail quietly")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

use coffer_broker_api::PodReference;
use coffer_runtime::{Metrics, Readiness, Shutdown};
use tonic::{
    Code,
    transport::{Channel, Endpoint, Server},
};

use super::{
    proto::{
        GetPluginCapabilitiesRequest, GetPluginInfoRequest, NodeGetCapabilitiesRequest, NodeGetInfoRequest,
        NodePublishVolumeRequest, NodeUnpublishVolumeRequest, ProbeRequest, identity_client::IdentityClient,
        identity_server::IdentityServer, node_client::NodeClient, node_server::NodeServer,
    },
    registration_proto::{
        InfoRequest, RegistrationStatus, registration_client::RegistrationClient,
        registration_server::RegistrationServer,
    },
    *,
};
use crate::{
    DRIVER_NAME,
    events::Announce,
    fake_broker::{Answer, FakeBroker},
    metrics::NodeMetrics,
    mount::Kernel,
    publish::Publisher,
    volume::tests::request,
};

struct Silent;

impl Announce for Silent {
    fn revoked(&self, _: PodReference, _: &str, _: String) {}
}

/// A node with everything real but the broker's decisions.
struct Kubelet {
    dir: tempfile::TempDir,
    fake: FakeBroker,
    shutdown: Shutdown,
    readiness: Readiness,
    channels: [Channel; 2],
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.shutdown.request();
        let _ = rustix::mount::unmount(self.target(), rustix::mount::UnmountFlags::DETACH);
    }
}

impl Kubelet {
    async fn start(
        decide: impl Fn(&coffer_broker_api::ReleaseRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = FakeBroker::start(decide).await;
        let pods = dir.path().join("pods");
        fs::create_dir_all(pods.join("pod-1")).unwrap();
        let metrics = NodeMetrics::new(&Metrics::new());
        let publisher = Publisher::new(Arc::new(Kernel::detect()), fake.client(), Arc::new(Silent), metrics);
        let node = NodeService::new(Arc::new(publisher), "node-1".into(), pods);
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let registered = readiness.check("kubelet-registration");
        let (csi, registry) = (dir.path().join("csi.sock"), dir.path().join("reg.sock"));
        let (mut sockets, ended) =
            ([Socket::open(csi.clone()).unwrap(), Socket::open(registry).unwrap()], shutdown.clone());
        let channels = [channel(dir.path().join("csi.sock")), channel(dir.path().join("reg.sock"))];
        let [csi_incoming, registry_incoming] = [0, 1].map(|n| sockets[n].incoming().unwrap());
        tokio::spawn(async move {
            let driver = Server::builder()
                .add_service(IdentityServer::new(IdentityService))
                .add_service(NodeServer::new(node))
                .serve_with_incoming_shutdown(csi_incoming, ended.requested());
            let registration = Server::builder()
                .add_service(RegistrationServer::new(RegistrationService::new(csi, registered)))
                .serve_with_incoming_shutdown(registry_incoming, ended.requested());
            let _sockets = sockets;
            tokio::try_join!(driver, registration)
        });
        Self { dir, fake, shutdown, readiness, channels }
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("pods/pod-1/mount")
    }

    fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channels[0].clone())
    }

    fn publish_request(&self) -> NodePublishVolumeRequest {
        let mut request = request();
        request.target_path = self.target().to_str().unwrap().into();
        request.volume_context.insert("connections".into(), "team-a/github".into());
        request
    }

    fn unpublish_request(&self) -> NodeUnpublishVolumeRequest {
        NodeUnpublishVolumeRequest {
            volume_id: "csi-1".into(),
            target_path: self.target().to_str().unwrap().into(),
        }
    }
}

fn channel(socket: PathBuf) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect_lazy()
}

fn github(_: &coffer_broker_api::ReleaseRequest) -> Answer {
    Answer::Release(vec![("github", vec![("token", "t0p")])])
}

#[tokio::test]
async fn the_kubelet_learns_who_is_there_and_what_it_can() {
    let kubelet = Kubelet::start(github).await;
    let mut registration = RegistrationClient::new(kubelet.channels[1].clone());
    let info = registration.get_info(InfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", DRIVER_NAME));
    assert_eq!(info.endpoint, kubelet.dir.path().join("csi.sock").to_str().unwrap());
    assert_eq!(info.supported_versions, ["1.0.0"]);

    let mut identity = IdentityClient::new(kubelet.channels[0].clone());
    let plugin = identity.get_plugin_info(GetPluginInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((plugin.name.as_str(), plugin.vendor_version.is_empty()), (DRIVER_NAME, false));
    let none = identity.get_plugin_capabilities(GetPluginCapabilitiesRequest {}).await.unwrap().into_inner();
    assert!(none.capabilities.is_empty());
    assert_eq!(identity.probe(ProbeRequest {}).await.unwrap().into_inner().ready, Some(true));

    let can = kubelet.node().node_get_capabilities(NodeGetCapabilitiesRequest {}).await.unwrap().into_inner();
    assert_eq!(can.capabilities.len(), 1);
    let info = kubelet.node().node_get_info(NodeGetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.node_id, "node-1");
}

#[tokio::test]
async fn the_driver_is_ready_when_the_kubelet_took_it_and_not_when_it_refused() {
    let kubelet = Kubelet::start(github).await;
    let mut registration = RegistrationClient::new(kubelet.channels[1].clone());
    assert!(!kubelet.readiness.is_ready());
    let refused = RegistrationStatus { plugin_registered: false, error: "no CSIDriver".into() };
    registration.notify_registration_status(refused).await.unwrap();
    assert!(kubelet.readiness.report().contains("no CSIDriver"));
    let taken = RegistrationStatus { plugin_registered: true, error: String::new() };
    registration.notify_registration_status(taken).await.unwrap();
    assert!(kubelet.readiness.is_ready());
}

/// A publish with everything real but the broker's decision: gRPC, TLS, keys, tmpfs. Needs root, as `make test` has it.
#[tokio::test]
async fn a_volume_comes_changes_and_goes_and_each_request_may_come_twice() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test mounts a tmpfs: run it as root, as `make test` does"
    );
    let kubelet = Kubelet::start(github).await;
    let mut request = kubelet.publish_request();
    let Some(proto::volume_capability::AccessType::Mount(mount)) =
        request.volume_capability.as_mut().unwrap().access_type.as_mut()
    else {
        panic!("a mount")
    };
    mount.volume_mount_group = "4242".into();
    for _ in 0..2 {
        kubelet.node().node_publish_volume(request.clone()).await.unwrap();
        let file = kubelet.target().join("github/token");
        assert_eq!(fs::read_to_string(&file).unwrap(), "t0p");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o440);
        assert_eq!(std::os::unix::fs::MetadataExt::gid(&fs::metadata(&file).unwrap()), 4242);
    }
    kubelet.fake.decide(|_| Answer::Release(vec![("github", vec![("token", "n3w")])]));
    kubelet.node().node_publish_volume(request).await.unwrap();
    assert_eq!(fs::read_to_string(kubelet.target().join("github/token")).unwrap(), "n3w");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert_eq!(mounts.matches(kubelet.target().to_str().unwrap()).count(), 1, "never mounted over itself");
    for _ in 0..2 {
        kubelet.node().node_unpublish_volume(kubelet.unpublish_request()).await.unwrap();
        assert!(!kubelet.target().exists());
    }
}

/// T38: somebody took the tmpfs away, or the node was restarted.
#[tokio::test]
async fn a_volume_whose_tmpfs_is_gone_can_still_be_taken_away_or_made_again() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test mounts a tmpfs: run it as root, as `make test` does"
    );
    let kubelet = Kubelet::start(github).await;
    kubelet.node().node_publish_volume(kubelet.publish_request()).await.unwrap();
    rustix::mount::unmount(kubelet.target(), rustix::mount::UnmountFlags::empty()).unwrap();
    kubelet.node().node_publish_volume(kubelet.publish_request()).await.unwrap();
    assert_eq!(fs::read_to_string(kubelet.target().join("github/token")).unwrap(), "t0p");
    rustix::mount::unmount(kubelet.target(), rustix::mount::UnmountFlags::empty()).unwrap();
    kubelet.node().node_unpublish_volume(kubelet.unpublish_request()).await.unwrap();
    assert!(!kubelet.target().exists());
}

/// C21, C34: what the kubelet shows in the pod's event.
#[tokio::test]
async fn a_denial_has_its_own_code_and_the_broker_s_words() {
    let kubelet = Kubelet::start(github).await;
    let denial = "Credential 'github' is not accessible to member 'intern'. Allowed: web";
    let cases = [
        (400, Code::InvalidArgument),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::NotFound),
        (413, Code::OutOfRange),
        // Both are asked again for as long as the kubelet waits, unless the broker asks for more patience than that.
        (429, Code::ResourceExhausted),
        (503, Code::Unavailable),
    ];
    for (status, code) in cases {
        kubelet.fake.decide(move |_| Answer::Refuse(status, denial, Some(60)));
        let refused = kubelet.node().node_publish_volume(kubelet.publish_request()).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (code, denial));
    }
    assert!(!kubelet.target().exists());
}

#[tokio::test]
async fn a_request_of_no_form_is_an_invalid_argument_and_a_call_of_another_kind_is_unimplemented() {
    let kubelet = Kubelet::start(github).await;
    let refused = kubelet.node().node_publish_volume(NodePublishVolumeRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "volume_id: must be set"));
    let refused =
        kubelet.node().node_unpublish_volume(NodeUnpublishVolumeRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(kubelet.fake.asked().is_empty());
    let refused =
        RegistrationClient::new(kubelet.channels[0].clone()).get_info(InfoRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_socket_is_root_s_alone_and_replaces_only_an_old_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugins/csi.sock");
    let left = Socket::open(path.clone()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::mem::forget(left);
    let second = Socket::open(path.clone()).unwrap();
    drop(second);
    assert!(!path.exists());
    fs::write(&path, "precious").unwrap();
    assert!(matches!(Socket::open(path.clone()), Err(SocketError::Occupied(_))));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let long = dir.path().join("x".repeat(120));
    assert!(matches!(Socket::open(long), Err(SocketError::TooLong(_))));
}
