//! `coffer-operator may-uninstall`, as the chart's hook runs it before an uninstall.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
};

use serde_json::{Value, json};

/// Exit code, standard output, standard error, against an API server at this address.
fn may_uninstall(server: &str) -> (i32, String, String) {
    let port = server.rsplit(':').next().unwrap();
    let kubeconfig = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kubeconfig-{port}"));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_coffer-operator"));
    let output =
        command.args(["may-uninstall", "--to-keep", "keep"]).env("KUBECONFIG", kubeconfig).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// An API server that answers one request, with this.
fn answers(status: &'static str, body: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut part) = (Vec::new(), [0; 4096]);
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = stream.read(&mut part).unwrap();
            request.extend_from_slice(&part[..read]);
        }
        let body = body.to_string();
        let head = "content-type: application/json\r\nconnection: close";
        write!(stream, "HTTP/1.1 {status}\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            .unwrap();
    });
    server
}

fn pods(items: Value) -> String {
    answers("200 OK", json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}))
}

#[test]
fn a_pod_in_the_way_and_an_api_server_that_cannot_be_asked_are_told_apart() {
    assert_eq!(may_uninstall(&pods(json!([]))), (0, String::new(), String::new()));

    let csi = json!({"name": "coffer", "csi": {"driver": coffer_crds::CSI_DRIVER}});
    let pod = json!({
        "metadata": {"namespace": "team-a", "name": "web"},
        "spec": {"nodeName": "n", "containers": [], "volumes": [csi]},
        "status": {"phase": "Running"},
    });
    let (code, out, err) = may_uninstall(&pods(json!([pod])));
    assert_eq!((code, err.as_str()), (3, ""), "{out}");
    assert!(out.starts_with("Coffer is in use and nothing was removed."), "{out}");

    let forbidden = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no"});
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for server in [answers("403 Forbidden", forbidden), format!("http://{nobody}")] {
        let (code, out, err) = may_uninstall(&server);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(
            err.contains("nothing was removed: it could not be found out whether pods still need"),
            "{err}"
        );
    }
}
