//! The harness's command line; the Makefile's targets are these commands.
#![allow(clippy::print_stdout, reason = "answers of a command line go to standard output")]

use crate::bench::{self, Bench};
use crate::cluster::Cluster;
use crate::cluster::component::Component;
use crate::demo::{self, Demo};
use crate::dump;
use crate::images;
use crate::install;
use crate::layout::Layout;
use crate::programs::Programs;
use crate::progress::{note, step};
use anyhow::Result;
use clap::{Parser, Subcommand};

/// The one-node Kubernetes that Coffer is demonstrated and tested on.
#[derive(Debug, Parser)]
#[command(name = "coffer-e2e", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the cluster up: a Ready node with DNS and volumes, nothing else.
    Up,
    /// Take the cluster down and remove every trace of it.
    Down,
    /// Tell which of the cluster's processes run; fails if the cluster is not up.
    Status,
    /// Build the cluster's programs from their Go modules, once for this machine.
    BuildPrograms {
        /// Only those of one folder of `e2e/cluster/`, such as `helm`.
        #[arg(long)]
        only: Option<String>,
    },
    /// Build Coffer and give its images to the cluster.
    Load,
    /// Install Coffer on the cluster, or upgrade it to this checkout.
    Install,
    /// Remove Coffer from the cluster.
    Uninstall,
    /// Tell Coffer's story on a real cluster.
    Demo(Demo),
    /// Measure on a real cluster and print the figures beside their goals.
    Bench(Bench),
    /// Print the path of the kubeconfig.
    Kubeconfig,
    /// Print the folder with kubectl, helm and the plugin.
    Bin,
    /// Write objects, events and logs to a folder and print it.
    Dump {
        /// The folder's name below `target/e2e-dumps/`.
        #[arg(default_value = "cluster")]
        name: String,
    },
}

impl Arguments {
    /// Do what was asked.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn run(self) -> Result<()> {
        let layout = Layout::new();
        match self.command {
            Command::Up => {
                let cluster = Cluster::up().await?;
                install::link_bin(&layout, cluster.programs(), None)?;
                note(format!(
                    "the cluster is up: export KUBECONFIG={}",
                    layout.kubeconfig("admin").display()
                ));
            }
            Command::Down => step("taking the cluster down", Cluster::down()).await?,
            Command::Status => return status(&layout),
            Command::BuildPrograms { only } => {
                let programs =
                    Programs::ensure_some(&layout, |folder| only.as_ref().is_none_or(|it| it == folder))
                        .await?;
                install::link_bin(&layout, &programs, None)?;
            }
            Command::Load => {
                let cluster = Cluster::up().await?;
                let built = install::build(&layout).await?;
                images::load(&cluster, &install::of_product(&layout, &built)?).await?;
            }
            Command::Install => {
                install::installed().await?;
                note(format!("Coffer is installed in namespace {}", install::NAMESPACE));
            }
            Command::Uninstall => install::uninstall(&Cluster::attach()?).await?,
            Command::Demo(demo) => return demo::run(&demo).await,
            Command::Bench(bench) => return bench::run(&bench).await,
            Command::Kubeconfig => println!("{}", layout.kubeconfig("admin").display()),
            Command::Bin => {
                let programs = Programs::ensure(&layout).await?;
                let built = install::build(&layout).await?;
                install::link_bin(&layout, &programs, Some(&built))?;
                println!("{}", layout.bin().display());
            }
            Command::Dump { name } => println!("{}", dump::whole(&Cluster::attach()?, &name).await.display()),
        }
        Ok(())
    }
}

fn status(layout: &Layout) -> Result<()> {
    for component in Component::ALL {
        let running = component.supervised(layout).running();
        let state =
            running.map_or_else(|| "not running".to_owned(), |process| format!("process {}", process.pid()));
        println!("{:<26}{state}", component.name());
    }
    Cluster::attach().map(drop)
}
