//! Whether a directory is kept in memory only. Private keys that outlive the machine on a disk can be read there later.

use std::path::{Path, PathBuf};

/// File systems that are never written to a disk (but to swap, where there is one).
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// The file system that `directory` is on, where it is written to a disk; `None` when it is in memory. The list of
/// mounts is in the form of `/proc/self/mountinfo` (proc(5)).
pub(super) fn on_disk<'a>(mounts: &'a str, directory: &Path) -> Option<&'a str> {
    let mut deepest: Option<(PathBuf, &str)> = None;
    for line in mounts.lines() {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (before.split(' ').nth(4), after.split(' ').next()) else {
            continue;
        };
        let point = PathBuf::from(unescaped(point));
        // Of two mounts at one place the later one is seen.
        let deeper = deepest
            .as_ref()
            .is_none_or(|(held, _)| point.components().count() >= held.components().count());
        if directory.starts_with(&point) && deeper {
            deepest = Some((point, kind));
        }
    }
    let (_, kind) = deepest?;
    (!IN_MEMORY.contains(&kind)).then_some(kind)
}

/// The kernel writes space, tab, line feed and backslash as three octal digits.
fn unescaped(point: &str) -> String {
    point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=10%
24 23 254:2 / /run/on\\040disk rw - xfs /dev/vdb rw
25 22 0:22 / /var/lib/hopgate rw - ext4 /dev/vdc rw
26 25 0:23 / /var/lib/hopgate rw - ramfs ramfs rw
broken line
";

    #[test]
    fn the_deepest_mount_decides() {
        for (directory, kind) in [
            ("/etc/hopgate", Some("ext4")),
            ("/run/hopgate/state", None),
            ("/runtime", Some("ext4")),
            ("/run/on disk/state", Some("xfs")),
            ("/var/lib/hopgate/state", None),
        ] {
            assert_eq!(on_disk(MOUNTS, Path::new(directory)), kind, "{directory}");
        }
        assert_eq!(on_disk("", Path::new("/run")), None, "nothing is known");
    }
}
