//! The cluster's own processes: killed, ended and cut off while a team works.

use anyhow::Result;
use e2e::cluster::component::Component;
use e2e::fault::{self, Cut};
use e2e::install;
use e2e::load::Load;
use e2e::namespace::Namespace;
use e2e::team::INJECTED;
use std::time::Duration;

/// How long a port is cut: several of the operator's renewals.
const CUT: Duration = Duration::from_secs(8);

/// C20: kubelet, API server and etcd go and come back; what was accepted is there and what runs goes on running.
#[tokio::test]
async fn nothing_is_lost_when_kubelet_api_server_or_etcd_are_killed_ended_or_cut_off() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "outage", &[INJECTED], async |ns| {
        let worked = Load::during(ns, async |load| {
            load.goes_on().await?;
            for component in [Component::Kubelet, Component::ApiServer, Component::Etcd] {
                load.expect(&format!("kill -9 of the {}", component.name()));
                cluster.kill(component).await?;
                fault::cluster_well(&cluster).await?;
                load.goes_on().await?;

                load.expect(&format!("restart of the {}", component.name()));
                cluster.restart(component).await?;
                fault::cluster_well(&cluster).await?;
                load.goes_on().await?;
            }
            for (component, port) in
                [(Component::Kubelet, 10250), (Component::ApiServer, 6443), (Component::Etcd, 2379)]
            {
                load.expect(&format!("loss of the network of the {}", component.name()));
                let cut = Cut::port(port)?;
                tokio::time::sleep(CUT).await;
                cut.mend();
                fault::cluster_well(&cluster).await?;
                load.goes_on().await?;
            }
            Ok(())
        })
        .await;
        fault::cluster_well(&cluster).await?;
        for (component, count) in [("operator", 2), ("webhook", 2), ("broker", 2), ("node", 1)] {
            fault::ready(&cluster, component, count).await?;
        }
        worked?;
        fault::nothing_panicked(&cluster)
    })
    .await
}
