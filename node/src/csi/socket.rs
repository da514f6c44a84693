//! A unix socket that only root may open, from its first moment on.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use rustix::{fs::Mode, process::umask};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

/// `sun_path` in `sockaddr_un`, less its closing zero.
const LONGEST_PATH: usize = 107;

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel takes no longer paths.
    #[error(
        "{0}: the path of a socket may have at most {LONGEST_PATH} bytes; choose a shorter --kubelet-dir"
    )]
    TooLong(PathBuf),
    /// Something that is no socket lies there.
    #[error("{0}: is in the way and is no socket")]
    Occupied(PathBuf),
    /// The system refuses.
    #[error("{step} {path}: {source}")]
    Open {
        /// What was being done.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A listening socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Socket {
    /// Opens `path` with mode 0600, in place of what an earlier process left there. Makes its folder.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn open(path: PathBuf) -> Result<Self, SocketError> {
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(SocketError::TooLong(path));
        }
        let failed = |step| {
            let path = path.clone();
            move |source| SocketError::Open { step, path, source }
        };
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
            .map_err(failed("create the folder of"))?;
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.file_type().is_socket() => {
                fs::remove_file(&path).map_err(failed("remove the old socket"))?;
            }
            Ok(_) => return Err(SocketError::Occupied(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at")(error)),
        }
        // The mode of a socket is what the umask leaves of 0777 at bind; set afterwards, there would be a moment.
        let before = umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&path);
        umask(before);
        let listener = Some(listener.map_err(failed("listen on"))?);
        Ok(Self { path, listener })
    }

    /// The connections; empty when asked for twice.
    pub fn incoming(&mut self) -> Option<UnixListenerStream> {
        self.listener.take().map(UnixListenerStream::new)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
