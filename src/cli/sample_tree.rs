//! The files of `ftpfs demo`: a bit of everything that a shell encounters.

use std::fs;
use std::io;
use std::path::Path;

/// Size of the binary file in bytes: large enough to be read in several requests.
const BINARY_SIZE: usize = 3 << 20;

/// Number of files in the large directory.
const MANY: usize = 200;

const WELCOME: &str = "\
This tree is on an FTP server. You see it as files because ftpfs mounted it.

  letters/     texts to read, search and change
  data/        a binary file and a table
  many/        two hundred small files
  names/       names that shells and old FTP clients stumble over
  deep/        directories in directories
";

/// Texts, by path.
const TEXTS: [(&str, &str); 8] = [
    ("README.txt", WELCOME),
    (
        "letters/to the harbour.txt",
        "Dear harbour master,\n\nthe boat is ready. We sail with the tide.\n",
    ),
    (
        "letters/reply.txt",
        "Dear captain,\n\nthe tide is at six. Bring the papers of the boat.\n",
    ),
    (
        "data/boats.csv",
        "name,length,built\nAnna,12.5,1931\nMöwe,8.0,1978\nTern,15.2,2004\n",
    ),
    ("names/with  two blanks", "two blanks\n"),
    ("names/grüße aus 北京.txt", "UTF-8, byte for byte\n"),
    ("names/-rf 'quoted' $HOME *", "nothing here is special\n"),
    ("deep/er/and/deeper/still/leaf.txt", "you found it\n"),
];

/// Creates the tree in `root`, which must exist.
///
/// # Errors
/// Those of the disk.
pub(super) fn create(root: &Path) -> io::Result<()> {
    for (path, text) in TEXTS {
        write(&root.join(path), text.as_bytes())?;
    }
    write(&root.join("data/noise.bin"), &noise(BINARY_SIZE))?;
    for number in 1..=MANY {
        let path = root.join(format!("many/{number:03}.txt"));
        write(&path, format!("file {number} of {MANY}\n").as_bytes())?;
    }
    fs::create_dir(root.join("empty"))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, bytes)
}

/// Returns bytes of all values, the same in every run (Marsaglia's xorshift).
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_has_its_files() {
        let root = tempfile::tempdir().unwrap();
        create(root.path()).unwrap();
        let noise = fs::read(root.path().join("data/noise.bin")).unwrap();
        assert_eq!(noise.len(), BINARY_SIZE);
        assert!((0..=255).all(|value| noise.contains(&value)));
        assert_eq!(
            fs::read_dir(root.path().join("many")).unwrap().count(),
            MANY
        );
    }
}
