//! Where recordings are kept. An incoming recording is written to an unnamed temporary file, which the system removes
//! even when the process is killed; only a whole, checked one gets a name in the store.

use std::fs::File;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use url::Url;

use super::StoredRecording;
use super::sniff::{AudioType, MIN_BYTES};
use crate::model::{FailureClass, Fault, UpstreamError, hex};

/// Size of the pieces in which a file goes into the store. Object stores want at least 5 MiB.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// Space that must stay free beside a recording.
const SPARE_BYTES: u64 = 8 * 1024 * 1024;
/// What [`Store::check`] writes.
const CHECK_PATH: &str = "health-check";

/// The recordings of all calls, by their content.
#[derive(Debug, Clone)]
pub(super) struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Folder of temporary files, on the same disk as the store.
    folder: PathBuf,
}

impl Store {
    /// Opens the store at `url`, with an empty folder if there is none.
    pub fn open_url(url: &Url) -> anyhow::Result<Self> {
        anyhow::ensure!(url.scheme() == "file", "RECORDING_STORE: only file:// is supported, not {}://", url.scheme());
        let Ok(folder) = url.to_file_path() else {
            anyhow::bail!("RECORDING_STORE: not the path of a folder; write file:///var/lib/goto-automation/recordings")
        };
        let usable = || format!("RECORDING_STORE: the folder {} cannot be used", folder.display());
        std::fs::create_dir_all(&folder).with_context(usable)?;
        let objects = LocalFileSystem::new_with_prefix(&folder).with_context(usable)?.with_fsync(true);
        Ok(Self { objects: Arc::new(objects), folder })
    }

    /// Fails when the disk cannot take another `declared` bytes, twice for a moment.
    pub fn require_room(&self, declared: Option<u64>) -> Result<(), UpstreamError> {
        // A file system that cannot tell is found full by writing.
        let Ok(disk) = nix::sys::statvfs::statvfs(&self.folder) else { return Ok(()) };
        // The types of these counts differ between systems.
        #[allow(clippy::useless_conversion)]
        let free = u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size()));
        let needed = declared.unwrap_or(0).saturating_mul(2).saturating_add(SPARE_BYTES);
        if free < needed { Err(no_space(&self.folder)) } else { Ok(()) }
    }

    /// Begins to receive a recording.
    pub fn receive(&self) -> Result<Incoming, UpstreamError> {
        let file = tempfile::tempfile_in(&self.folder).map_err(|error| self.failed(&error))?;
        let (file, folder) = (tokio::fs::File::from_std(file), self.folder.clone());
        Ok(Incoming { file, folder, hash: Sha256::new(), bytes: 0, head: Vec::with_capacity(MIN_BYTES) })
    }

    /// Gives a whole recording its name, `{first two hex digits}/{sha256}.{extension}`. The same content again is the
    /// same object.
    pub async fn keep(&self, incoming: Incoming, audio: AudioType) -> Result<StoredRecording, UpstreamError> {
        let Incoming { mut file, hash, bytes, .. } = incoming;
        file.flush().await.map_err(|error| self.failed(&error))?;
        let sha256 = hex(&hash.finalize());
        let AudioType { extension, media_type } = audio;
        let path = Path::from(format!("{}/{sha256}.{extension}", &sha256[..2]));
        if !self.objects.head(&path).await.is_ok_and(|object| object.size == bytes) {
            self.upload(file, &path).await?;
        }
        Ok(StoredRecording { path: path.to_string(), sha256, bytes, media_type, extension })
    }

    async fn upload(&self, mut file: tokio::fs::File, path: &Path) -> Result<(), UpstreamError> {
        file.rewind().await.map_err(|error| self.failed(&error))?;
        let mut upload = self.objects.put_multipart(path).await.map_err(|error| self.failed(&error))?;
        let sent = async {
            loop {
                let mut part = Vec::new();
                if (&mut file).take(PART_BYTES).read_to_end(&mut part).await? == 0 {
                    upload.complete().await?;
                    return Ok::<_, anyhow::Error>(());
                }
                upload.put_part(part.into()).await?;
            }
        }
        .await;
        if let Err(error) = sent {
            // The first error is the one to tell.
            let _ = upload.abort().await;
            return Err(self.failed(error.as_ref()));
        }
        Ok(())
    }

    /// Opens a stored recording for reading and seeking, at its start.
    pub async fn open(&self, path: &str) -> Result<File, UpstreamError> {
        let path = self.parse(path)?;
        let object = match self.objects.get(&path).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) => return Err(gone()),
            Err(error) => return Err(self.failed(&error)),
        };
        let mut stream = match object.payload {
            GetResultPayload::File(file, _) => return Ok(file),
            GetResultPayload::Stream(stream) => stream,
        };
        let mut copy = self.receive()?;
        while let Some(chunk) = stream.try_next().await.map_err(|error| self.failed(&error))? {
            copy.write(&chunk).await?;
        }
        copy.file.flush().await.map_err(|error| self.failed(&error))?;
        copy.file.rewind().await.map_err(|error| self.failed(&error))?;
        Ok(copy.file.into_std().await)
    }

    /// Whether a stored recording is still there.
    pub async fn exists(&self, path: &str) -> Result<bool, UpstreamError> {
        match self.objects.head(&self.parse(path)?).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Writes a small object, always the same one.
    pub async fn check(&self) -> anyhow::Result<()> {
        let written = self.objects.put(&Path::from(CHECK_PATH), "ok".into()).await;
        written.with_context(|| format!("the recording store {} cannot be written", self.folder.display()))?;
        Ok(())
    }

    fn parse(&self, path: &str) -> Result<Path, UpstreamError> {
        Path::parse(path).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> UpstreamError {
        store_error(&self.folder, error)
    }
}

/// A recording on its way in. Dropped, it leaves nothing behind.
pub(super) struct Incoming {
    file: tokio::fs::File,
    folder: PathBuf,
    hash: Sha256,
    bytes: u64,
    head: Vec<u8>,
}

impl Incoming {
    /// Appends what has arrived.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), UpstreamError> {
        self.file.write_all(chunk).await.map_err(|error| store_error(&self.folder, &error))?;
        self.hash.update(chunk);
        self.bytes += chunk.len() as u64;
        let missing = MIN_BYTES - self.head.len();
        self.head.extend_from_slice(&chunk[..chunk.len().min(missing)]);
        Ok(())
    }

    /// How much has arrived.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first bytes, at most [`MIN_BYTES`].
    pub fn head(&self) -> &[u8] {
        &self.head
    }
}

fn store_error(folder: &FilePath, error: &(dyn std::error::Error + 'static)) -> UpstreamError {
    let mut cause = error;
    loop {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        {
            return no_space(folder);
        }
        match cause.source() {
            Some(source) => cause = source,
            None => break,
        }
    }
    let text = format!(
        "The recording store {} does not work ({cause}). Check RECORDING_STORE and the rights of its folder.",
        folder.display()
    );
    UpstreamError::new(Fault::Transient, FailureClass::Store, text).as_no_sign()
}

fn no_space(folder: &FilePath) -> UpstreamError {
    let text = format!("There is no space left in the recording store {}. Free some, or enlarge it.", folder.display());
    UpstreamError::new(Fault::Transient, FailureClass::NoSpace, text).as_no_sign()
}

fn gone() -> UpstreamError {
    let text = "The recording is no longer in the store. Fetch it once more, and all that follows: `goto-automation calls \
                rerun ID --from download`.";
    UpstreamError::new(Fault::Permanent, FailureClass::RecordingGone, text)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const WAV: AudioType = AudioType { extension: "wav", media_type: "audio/wav" };

    fn store(folder: &tempfile::TempDir) -> Store {
        Store::open_url(&Url::from_file_path(folder.path().join("new/recordings")).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn what_is_kept_can_be_opened_and_survives_a_second_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        // More than one part, so that the pieces have to be put together in order.
        let content: Vec<u8> = (0..PART_BYTES + 1000).map(|n| (n / 4096) as u8).collect();
        let mut kept = Vec::new();
        for _ in 0..2 {
            let mut incoming = store.receive().unwrap();
            for chunk in content.chunks(100_000) {
                incoming.write(chunk).await.unwrap();
            }
            assert_eq!((incoming.bytes(), incoming.head()), (content.len() as u64, &content[..MIN_BYTES]));
            kept.push(store.keep(incoming, WAV).await.unwrap());
        }
        assert_eq!(kept[0], kept[1]);
        assert_eq!(kept[0].path, format!("{}/{}.wav", &kept[0].sha256[..2], kept[0].sha256));
        let mut read = Vec::new();
        store.open(&kept[0].path).await.unwrap().read_to_end(&mut read).unwrap();
        assert!(read == content);
        assert!(store.exists(&kept[0].path).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        store.receive().unwrap().write(b"RIFF").await.unwrap();
        assert_eq!(std::fs::read_dir(&store.folder).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_is_not_there_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let error = store.open("ab/abc.wav").await.unwrap_err();
        assert_eq!((error.fault, error.class.as_str()), (Fault::Permanent, "recording_gone"));
        assert!(!store.exists("ab/abc.wav").await.unwrap());
        store.open("../secret").await.unwrap_err();
    }

    #[tokio::test]
    async fn a_full_disk_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let full = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
        };
        for error in [store.failed(&full), store.require_room(Some(u64::MAX)).unwrap_err()] {
            assert_eq!((error.fault, error.class.as_str()), (Fault::Transient, "no_space"));
            assert!(error.message.contains("no space"), "{error}");
        }
        store.require_room(Some(1000)).unwrap();
    }

    #[tokio::test]
    async fn the_check_writes() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        store.check().await.unwrap();
        store.check().await.unwrap();
        // A file where the folder was: not even root can write there.
        std::fs::remove_dir_all(&store.folder).unwrap();
        std::fs::write(&store.folder, "").unwrap();
        store.check().await.unwrap_err();
    }

    #[test]
    fn only_folders_are_stores() {
        for url in ["s3://bucket/x", "file://host/x"] {
            assert!(Store::open_url(&url.parse().unwrap()).unwrap_err().to_string().contains("RECORDING_STORE"));
        }
    }
}
