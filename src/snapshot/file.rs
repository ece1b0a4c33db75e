//! The file of a snapshot: written under a temporary name, synced, and renamed.
//!
//! So a crash leaves the former snapshot or the next one, and never a part of one. A process that
//! is killed leaves its temporary file behind. The next save of the same snapshot removes it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The end of the names of temporary files.
const ENDING: &str = ".saving";

/// A snapshot under its temporary name. It is removed if it is dropped before it is
/// [finished](Self::finish).
#[derive(Debug)]
pub(super) struct TemporaryFile {
    file: File,
    folder: Folder,
    temporary: PathBuf,
    target: PathBuf,
    has_finished: bool,
}

impl TemporaryFile {
    /// Creates a file beside `target`, which only its owner can read. `unique` makes its name
    /// different from others.
    pub(super) fn create(target: &Path, unique: u64) -> io::Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path of a snapshot ends without a file name"));
        };
        let folder = Folder::open(folder_of(target))?;
        remove_left_behind(target, name);
        let mut temporary_name = prefix(name);
        temporary_name.push(format!("{unique:016x}{ENDING}"));
        let temporary = target.with_file_name(temporary_name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&temporary)?;
        Ok(Self { file, folder, temporary, target: target.to_owned(), has_finished: false })
    }

    /// Waits until all bytes that were written are on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Syncs the file and gives it the name of the snapshot. After an error of the last step, the
    /// name may be given or not after a crash.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        self.has_finished = true;
        self.folder.sync()
    }
}

impl Write for TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.has_finished {
            let _ = fs::remove_file(&self.temporary); // If this fails, the next save removes it.
        }
    }
}

/// Returns the beginning of the names of temporary files for a snapshot.
fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    prefix
}

/// Removes the temporary files of saves that were killed.
fn remove_left_behind(target: &Path, name: &OsStr) {
    let prefix = prefix(name);
    let Ok(entries) = fs::read_dir(folder_of(target)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let unique = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let unique = unique.and_then(|rest| rest.strip_suffix(ENDING.as_bytes()));
        if unique.is_some_and(|unique| unique.len() == 16 && unique.iter().all(u8::is_ascii_hexdigit)) {
            let _ = fs::remove_file(entry.path()); // It takes space, and does no other harm.
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The folder of a snapshot. It is opened before anything is written, so that one that cannot be
/// synced is an error before the former snapshot is replaced.
#[cfg(unix)]
#[derive(Debug)]
struct Folder(File);

#[cfg(unix)]
impl Folder {
    fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    /// Waits until the name of the snapshot is on the disk.
    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// The folder of a snapshot, on a system that has no call to sync it.
#[cfg(not(unix))]
#[derive(Debug)]
struct Folder;

#[cfg(not(unix))]
impl Folder {
    fn open(_path: &Path) -> io::Result<Self> {
        Ok(Self)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
