/// How far the import of files is. Reported a few times a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The file being read.
    pub file: String,
    /// Its place among the files, from 0.
    pub index: usize,
    /// How many files there are.
    pub files: usize,
    /// Bytes of it read so far.
    pub read_bytes: u64,
    /// Its size, if it is known.
    pub total_bytes: Option<u64>,
    /// Packets read so far, of all files.
    pub packets: u64,
    /// Rows made so far, of all files.
    pub rows: u64,
}
