//! Reasons in the text of refusals, in the languages that servers use. The text is not part of any
//! standard: the phrases are those of the C library, of Windows and of the servers, as they are
//! sent.

use super::ErrorKind;
use crate::ftp::RemotePath;

/// Phrases in lower case, the more specific first: "does not exist" must match before "exist", "not
/// a directory" before "a directory".
const PHRASES: &[(ErrorKind, &[&str])] = &[
    (
        ErrorKind::Busy,
        &["being used by another", "resource busy", "text file busy"],
    ),
    (ErrorKind::QuotaExceeded, &["quota"]),
    (
        ErrorKind::FileTooLarge,
        &[
            "file too large",
            "file is too large",
            "file too big",
            "file is too big",
            "maximum file size",
            "max file size",
            "file size limit",
            "datei zu groß",
            "datei ist zu groß",
            "fichier trop volumineux",
            "fichier trop grand",
            "archivo demasiado grande",
            "文件过大",
            "文件太大",
        ],
    ),
    (
        ErrorKind::NoSpace,
        &[
            "no space",
            "disk full",
            "disk is full",
            "not enough space",
            "not enough disk",
            "insufficient storage",
            "insufficient disk",
            "speicherplatz",
            "aucun espace",
            "plus de place",
            "no queda espacio",
            "没有空间",
            "空间不足",
        ],
    ),
    (
        ErrorKind::NotFound,
        &[
            "no such",
            "not found",
            "cannot find",
            "can't find",
            "could not find",
            "not exist",
            "doesn't exist",
            "nonexistent",
            "nicht gefunden",
            "existiert nicht",
            "kann nicht finden",
            "introuvable",
            "aucun fichier",
            "n'existe pas",
            "non trouvé",
            "no existe",
            "no encontrado",
            "no se encontr",
            "no se encuentra",
            "没有那个",
            "找不到",
            "不存在",
        ],
    ),
    (
        ErrorKind::NotEmpty,
        &[
            "not empty",
            "non-empty",
            "nonempty",
            "nicht leer",
            "pas vide",
            "non vide",
            "no está vac",
            "no vacío",
            "非空",
            "不是空的",
            "不为空",
        ],
    ),
    (
        ErrorKind::NotDirectory,
        &[
            "not a directory",
            "not a folder",
            "not directory",
            "directory name is invalid",
            "kein verzeichnis",
            "n'est pas un dossier",
            "n'est pas un répertoire",
            "no es un directorio",
            "不是目录",
            "不是文件夹",
        ],
    ),
    (
        ErrorKind::IsDirectory,
        &[
            "is a directory",
            "is a folder",
            "ist ein verzeichnis",
            "est un dossier",
            "est un répertoire",
            "es un directorio",
            "是一个目录",
            "是目录",
        ],
    ),
    (
        ErrorKind::InvalidName,
        &[
            "name not allowed",
            "invalid name",
            "illegal name",
            "invalid file name",
            "invalid filename",
            "invalid character",
            "label syntax is incorrect",
            "prohibited file name",
            "prohibited directory name",
            "invalid directory name",
        ],
    ),
    (
        ErrorKind::NameTooLong,
        &["too long", "zu lang", "trop long", "demasiado largo"],
    ),
    (
        ErrorKind::PermissionDenied,
        &[
            "permission",
            "denied",
            "privilege",
            "not permitted",
            "not allowed",
            "not authorized",
            "unauthorized",
            "forbidden",
            "read-only",
            "read only",
            "verweigert",
            "berechtigung",
            "nicht erlaubt",
            "refusé",
            "non autorisé",
            "permiso",
            "denegado",
            "不允许",
            "权限",
            "拒绝",
        ],
    ),
    (
        ErrorKind::AlreadyExists,
        &[
            "already exist",
            "exists",
            "existiert bereits",
            "bereits vorhanden",
            "existe déjà",
            "ya existe",
            "已存在",
            "已经存在",
        ],
    ),
];

/// Complete sentences of servers that refuse to list an empty directory: the text in lower case,
/// without the path and punctuation. A part of a sentence proves nothing: "no files can be listed
/// now" is about the server.
const EMPTY: &[&str] = &[
    "no files",
    "no files found",
    "no files found in",
    "no files found in directory",
    "no files found in this directory",
    "no files in",
    "no files in directory",
    "no files in this directory",
    "no files in the directory",
    "no files or directories found",
    "no files to list",
    "no file found",
    "no file in directory",
    "no entries",
    "no entries found",
    "no entries in",
    "no entries in directory",
    "no items",
    "no items found",
    "no members found",
    "no members in",
    "no match",
    "no matches",
    "no matches found",
    "no matching files",
    "no matching files found",
    "nothing to list",
    "nothing found",
    "nothing matched",
    "is empty",
    "empty",
    "empty directory",
    "empty folder",
    "directory empty",
    "directory is empty",
    "the directory is empty",
    "this directory is empty",
    "folder is empty",
    "the folder is empty",
    "this folder is empty",
    "keine dateien",
    "keine dateien gefunden",
    "keine dateien vorhanden",
    "verzeichnis ist leer",
    "das verzeichnis ist leer",
    "der ordner ist leer",
    "ordner ist leer",
    "aucun fichier",
    "aucun fichier trouvé",
    "le répertoire est vide",
    "le dossier est vide",
    "répertoire vide",
    "dossier vide",
    "ningún archivo",
    "ningún fichero",
    "el directorio está vacío",
    "la carpeta está vacía",
    "directorio vacío",
    "目录为空",
    "没有文件",
];

/// Whether `lines`, a refusal to list `path`, say that the directory is empty and nothing else.
pub(super) fn say_empty(lines: &[Vec<u8>], path: &RemotePath) -> bool {
    let text = without_path(&lowered(lines), path);
    let words: Vec<&str> = text
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    EMPTY.contains(&words.join(" ").as_str())
}

/// Returns the text of `lines` without the name of `path`, so that two replies with the same
/// meaning are equal.
pub(super) fn sense(lines: &[Vec<u8>], path: &RemotePath) -> String {
    without_path(&lowered(lines), path)
}

fn lowered(lines: &[Vec<u8>]) -> String {
    lines
        .iter()
        .map(|line| String::from_utf8_lossy(line).to_lowercase())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns the reason that `lines` give for an operation on `path`, if any.
pub(super) fn reason(lines: &[Vec<u8>], path: &RemotePath) -> Option<ErrorKind> {
    let text = without_path(&lowered(lines), path);
    PHRASES
        .iter()
        .find(|(_, phrases)| phrases.iter().any(|phrase| text.contains(phrase)))
        .map(|(kind, _)| *kind)
}

/// Removes the path from the text (a file may be called "permission denied"), and RFC 959's own
/// examples (§4.2.2), which some servers send with every 550.
fn without_path(text: &str, path: &RemotePath) -> String {
    let whole = String::from_utf8_lossy(path.as_bytes()).to_lowercase();
    let name = String::from_utf8_lossy(path.name()).to_lowercase();
    if name.is_empty() {
        return text.to_owned();
    }
    text.replace("(e.g., file not found, no access)", "")
        .replace(&whole, "")
        .replace(&format!("\"{name}\""), "")
        .replace(&format!("'{name}'"), "")
        .replace(&format!("{name}: "), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, path: &str) -> Option<ErrorKind> {
        let path = RemotePath::new(path.as_bytes()).unwrap();
        reason(&[text.as_bytes().to_vec()], &path)
    }

    #[test]
    fn servers_that_give_a_reason_are_understood() {
        for (text, kind) in [
            ("/x: No such file or directory", ErrorKind::NotFound),
            (
                "Can't open x: No such file or directory",
                ErrorKind::NotFound,
            ),
            (
                "The system cannot find the file specified. ",
                ErrorKind::NotFound,
            ),
            ("File not found", ErrorKind::NotFound),
            ("Directory does not exist", ErrorKind::NotFound),
            ("x: Permission denied", ErrorKind::PermissionDenied),
            ("Not enough privileges.", ErrorKind::PermissionDenied),
            ("Access is denied. ", ErrorKind::PermissionDenied),
            ("x: Operation not permitted", ErrorKind::PermissionDenied),
            (
                "x: Overwrite permission denied",
                ErrorKind::PermissionDenied,
            ),
            ("x: Read-only file system", ErrorKind::PermissionDenied),
            (
                "Can't create directory: File exists",
                ErrorKind::AlreadyExists,
            ),
            ("File exists.", ErrorKind::AlreadyExists),
            (
                "Cannot create a file when that file already exists. ",
                ErrorKind::AlreadyExists,
            ),
            ("Directory not empty.", ErrorKind::NotEmpty),
            ("The directory is not empty. ", ErrorKind::NotEmpty),
            (
                "Rename/move failure: Directory not empty",
                ErrorKind::NotEmpty,
            ),
            ("x: Is a directory", ErrorKind::IsDirectory),
            ("x: Not a directory", ErrorKind::NotDirectory),
            ("The directory name is invalid. ", ErrorKind::NotDirectory),
            ("File name too long", ErrorKind::NameTooLong),
            ("Prohibited file name: .x", ErrorKind::InvalidName),
            ("Prohibited directory name", ErrorKind::InvalidName),
            ("/x: Invalid directory name", ErrorKind::InvalidName),
            (
                "The filename, directory name, or volume label syntax is incorrect. ",
                ErrorKind::InvalidName,
            ),
            ("x: Disk quota exceeded", ErrorKind::QuotaExceeded),
            ("No space left on device", ErrorKind::NoSpace),
            (
                "The process cannot access the file because it is being used by another process. ",
                ErrorKind::Busy,
            ),
            ("Datei oder Verzeichnis nicht gefunden", ErrorKind::NotFound),
            ("Das Verzeichnis ist nicht leer.", ErrorKind::NotEmpty),
            ("Die Datei existiert bereits", ErrorKind::AlreadyExists),
            ("Zugriff verweigert", ErrorKind::PermissionDenied),
            (
                "x: Aucun fichier ou dossier de ce type",
                ErrorKind::NotFound,
            ),
            ("Permission non accordée", ErrorKind::PermissionDenied),
            ("Le dossier n'est pas vide", ErrorKind::NotEmpty),
            ("x: N'est pas un dossier", ErrorKind::NotDirectory),
            ("x: est un dossier", ErrorKind::IsDirectory),
            ("No existe el fichero o el directorio", ErrorKind::NotFound),
            ("Permiso denegado", ErrorKind::PermissionDenied),
            ("El fichero ya existe", ErrorKind::AlreadyExists),
            ("没有那个文件或目录", ErrorKind::NotFound),
            ("权限不够", ErrorKind::PermissionDenied),
            ("目录非空", ErrorKind::NotEmpty),
            ("文件已存在", ErrorKind::AlreadyExists),
        ] {
            assert_eq!(said(text, "/x"), Some(kind), "{text}");
        }
    }

    #[test]
    fn an_empty_directory_refused_is_told_from_a_denied_one() {
        let path = RemotePath::new(b"/x").unwrap();
        let says = |text: &str| say_empty(&[text.as_bytes().to_vec()], &path);
        for text in [
            "No files found",
            "No files found.",
            "Directory is empty",
            "/x: directory empty",
            "No entries in /x",
            "Das Verzeichnis ist leer",
            "Directory \"/x\" is empty.",
            "*: nothing matched",
            "/x/*: No match.",
            "Le répertoire est vide.",
            "目录为空",
        ] {
            assert!(says(text), "{text}");
        }
        for text in [
            "Permission denied",
            "No such file or directory",
            "Directory not empty",
            "No files may be listed: permission denied",
            "Failed to open directory",
            "No data connection could be made",
            "No data channel.",
            "*: No matching certificate",
            "Local error: no data could be read",
            "No file handles available",
            "No files can be listed right now, try later",
            "Directory busy: no matching worker",
            "Das Verzeichnis kann nicht gelesen werden, keine Dateien verfuegbar",
            "Aucun fichier ou dossier de ce type",
        ] {
            assert!(!says(text), "{text}");
        }
    }

    #[test]
    fn servers_that_give_none_are_not_guessed_at() {
        for text in [
            "Failed to open file.",
            "Create directory operation failed.",
            "Delete operation failed.",
            "Remove directory operation failed.",
            "Rename failed.",
            "Could not create file.",
            "Failed to change directory.",
            "I can only retrieve regular files",
            "Could not delete x: Invalid argument",
            "Can't check for file existence",
            "Requested action not taken. File unavailable (e.g., file not found, no access).",
        ] {
            assert_eq!(said(text, "/x"), None, "{text}");
        }
    }

    #[test]
    fn the_name_of_a_file_is_not_a_reason() {
        let name = "permission denied";
        for text in [
            "/permission denied: No such file or directory",
            "permission denied: No such file or directory",
            "Can't open \"permission denied\": No such file or directory",
        ] {
            assert_eq!(said(text, name), Some(ErrorKind::NotFound), "{text}");
        }
        assert_eq!(said("Can't remove '/exists'", "/exists"), None);
    }
}
