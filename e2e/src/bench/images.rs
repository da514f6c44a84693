//! What the images weigh.

use super::figure::Figure;
use crate::cluster::Cluster;
use crate::images::archive::Entry;
use crate::install;
use anyhow::{Context, Result};

/// The size of each image: its files, not compressed.
///
/// # Errors
/// If the product cannot be built.
#[allow(clippy::cast_precision_loss, reason = "file sizes are far below 2^52")]
pub async fn measure(cluster: &Cluster) -> Result<Vec<Figure>> {
    let built = install::build(cluster.layout()).await?;
    let mut figures = Vec::new();
    for image in install::of_product(cluster.layout(), &built)? {
        let mut size = 0;
        for entry in &image.entries {
            if let Entry::File { source, .. } = entry {
                let file = std::fs::metadata(source);
                size += file.with_context(|| format!("look at {}", source.display()))?.len();
            }
        }
        figures.push(
            Figure::new(format!("image {}", image.name), size as f64 / 1e6, "MB")
                .at_most(25.0)
                .note("its one layer, not compressed"),
        );
    }
    Ok(figures)
}
