//! Machines of their own for the processes of a site: cables, disks and clocks, as far as one kernel can play several.
//!
//! | what | by | needs |
//! |---|---|---|
//! | cables | a network namespace for each, all on one bridge, which lives in a namespace too | root |
//! | disks | a small tmpfs for each folder, filled up by a file | root |
//! | clocks | libfaketime, a file with the offset for each | the package `faketime` |
//!
//! What is missing is said ([`Lab::lacks`]), and the faults that need it are left out. This process itself, with the users
//! in it, goes to the platform's machine. Everything is taken down when the lab is dropped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use threshold_exchange::site::Machine;

use crate::tunnel;

/// The machine of the platform and its users.
pub(crate) const PLATFORM: &str = "platform";
const PORT: u16 = 7700;
const BALLAST: &str = "ballast";

/// What can be made to fail here.
pub(crate) struct Lab {
    prefix: String,
    machines: Vec<String>,
    network: bool,
    /// Where the APIs of peers are reached from the platform's machine.
    tunnels: BTreeMap<String, SocketAddr>,
    clocks: Option<(PathBuf, PathBuf)>,
    disks: Vec<PathBuf>,
    may_mount: bool,
    lacks: Vec<String>,
}

fn said(what: &str) -> impl FnOnce(std::io::Error) -> String {
    let what = what.to_owned();
    move |error| format!("{what}: {error}")
}

fn command(program: &str, arguments: &[&str]) -> Result<(), String> {
    let shown = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(said(&shown()))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", shown(), words.trim()))
}

impl Lab {
    /// Machines by these names. With `plain` nothing is asked of the system, and only processes can be made to fail.
    pub(crate) fn set_up(root: &Path, names: &[String], plain: bool) -> Self {
        let mut lab = Self {
            prefix: format!("tx{}-", std::process::id()),
            machines: names.to_vec(),
            network: false,
            tunnels: BTreeMap::new(),
            clocks: None,
            disks: Vec::new(),
            may_mount: false,
            lacks: Vec::new(),
        };
        if plain {
            lab.lacks
                .push("cables, disks and clocks: it was started with --plain".to_owned());
            return lab;
        }
        match lab.lay_cables() {
            Ok(()) => lab.network = true,
            Err(error) => {
                lab.remove_network();
                lab.lacks.push(format!("cables: {error}"));
            }
        }
        match try_mount(root) {
            Ok(()) => lab.may_mount = true,
            Err(error) => lab.lacks.push(format!("disks: {error}")),
        }
        match lab.find_clocks(root) {
            Ok(found) => lab.clocks = Some(found),
            Err(error) => lab.lacks.push(format!("clocks: {error}")),
        }
        lab
    }

    /// What cannot be made to fail here, and why.
    pub(crate) fn lacks(&self) -> &[String] {
        &self.lacks
    }

    /// Whether cables can be pulled.
    pub(crate) fn has_cables(&self) -> bool {
        self.network
    }

    /// Whether disks can be filled.
    pub(crate) fn has_disks(&self) -> bool {
        self.may_mount
    }

    /// Whether clocks can be set.
    pub(crate) fn has_clocks(&self) -> bool {
        self.clocks.is_some()
    }

    /// Whether there is a machine of this name.
    pub(crate) fn has_room_for(&self, name: &str) -> bool {
        self.machines.iter().any(|machine| machine == name)
    }

    /// How each process is to be started.
    pub(crate) fn machines(&self) -> BTreeMap<String, Machine> {
        self.machines
            .iter()
            .map(|name| (name.clone(), self.machine(name)))
            .collect()
    }

    fn machine(&self, name: &str) -> Machine {
        let mut machine = Machine::default();
        if self.network && name != PLATFORM {
            let before = ["ip", "netns", "exec", &self.namespace(name)];
            machine.before = before.iter().map(Into::into).collect();
            machine.address = Some(SocketAddr::new(self.host(name).into(), PORT));
            machine.reached_at = self.tunnels.get(name).copied();
        }
        if let Some((library, folder)) = &self.clocks {
            let offset = folder.join(name).into_os_string();
            machine.environment = vec![
                ("LD_PRELOAD".into(), library.into()),
                ("FAKETIME_TIMESTAMP_FILE".into(), offset),
                ("FAKETIME_CACHE_DURATION".into(), "1".into()),
                // Timers go on: what jumps is the time of day.
                ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
                ("DONT_FAKE_MONOTONIC".into(), "1".into()),
                ("NO_FAKE_STAT".into(), "1".into()),
            ];
        }
        machine
    }

    /// Takes this thread, and those that it starts, to the platform's machine, and makes a way from there to the APIs on these
    /// others.
    ///
    /// # Errors
    /// The system's reason.
    pub(crate) fn enter(&mut self, peers: &[String]) -> Result<(), String> {
        if !self.network {
            return Ok(());
        }
        tunnel::enter(&self.namespace(PLATFORM))?;
        for peer in peers {
            let near = tunnel::open(self.namespace(peer), self.host(peer))?;
            self.tunnels.insert(peer.clone(), near);
        }
        Ok(())
    }

    fn namespace(&self, machine: &str) -> String {
        format!("{}{machine}", self.prefix)
    }

    fn number(&self, machine: &str) -> u8 {
        let at = self.machines.iter().position(|name| name == machine);
        u8::try_from(at.unwrap_or_default() + 1).unwrap_or(u8::MAX)
    }

    fn host(&self, machine: &str) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, 0, self.number(machine))
    }

    fn lay_cables(&self) -> Result<(), String> {
        let switch = self.namespace("switch");
        command("ip", &["netns", "add", &switch])?;
        let bridge = ["link", "add", "bridge0", "type", "bridge"];
        command("ip", &[&["-n", &switch][..], &bridge].concat())?;
        command("ip", &["-n", &switch, "link", "set", "bridge0", "up"])?;
        for name in &self.machines {
            let (own, port) = (self.namespace(name), format!("port{}", self.number(name)));
            let address = format!("{}/24", self.host(name));
            command("ip", &["netns", "add", &own])?;
            let pair = [
                "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &own,
            ];
            command("ip", &[&["-n", &switch][..], &pair].concat())?;
            let joined = ["link", "set", &port, "master", "bridge0", "up"];
            command("ip", &[&["-n", &switch][..], &joined].concat())?;
            command("ip", &["-n", &own, "link", "set", "lo", "up"])?;
            let place = ["address", "add", &address, "dev", "eth0"];
            command("ip", &[&["-n", &own][..], &place].concat())?;
            command("ip", &["-n", &own, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    fn remove_network(&self) {
        // A namespace's devices go with it, and a pair's other end with its first.
        for name in self.machines.iter().map(String::as_str).chain(["switch"]) {
            let _ = command("ip", &["netns", "delete", &self.namespace(name)]);
        }
    }

    /// Pulls a machine's cable, or plugs it in again.
    ///
    /// # Errors
    /// What `ip` said.
    pub(crate) fn cable(&self, machine: &str, plugged: bool) -> Result<(), String> {
        let (switch, port) = (
            self.namespace("switch"),
            format!("port{}", self.number(machine)),
        );
        let state = if plugged { "up" } else { "down" };
        command("ip", &["-n", &switch, "link", "set", &port, state])
    }

    fn find_clocks(&self, root: &Path) -> Result<(PathBuf, PathBuf), String> {
        let libraries = fs::read_dir("/usr/lib").map_err(said("/usr/lib"))?;
        let library = libraries
            .filter_map(Result::ok)
            .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.is_file())
            .ok_or("there is no libfaketime; install the package faketime")?;
        let folder = root.join("clocks");
        fs::create_dir(&folder).map_err(said("make the folder of clocks"))?;
        for name in &self.machines {
            set_clock(&folder, name, 0)?;
        }
        Ok((library, folder))
    }

    /// Has a machine's clock differ from the true time by so many seconds; it takes effect within a second or so.
    ///
    /// # Errors
    /// The system's reason.
    pub(crate) fn clock(&self, machine: &str, seconds: i64) -> Result<(), String> {
        match &self.clocks {
            Some((_, folder)) => set_clock(folder, machine, seconds),
            None => Err("there are no clocks to set".to_owned()),
        }
    }

    /// Moves a folder onto a disk of its own, of so many MiB.
    ///
    /// # Errors
    /// The system's reason.
    pub(crate) fn give_disk(&mut self, folder: &Path, mebibytes: u32) -> Result<(), String> {
        if !self.may_mount {
            return Ok(());
        }
        let (own, old) = (
            folder.display().to_string(),
            format!("{}.moving", folder.display()),
        );
        fs::rename(folder, &old).map_err(said("move a folder"))?;
        fs::create_dir(folder).map_err(said("make a folder"))?;
        let options = format!("size={mebibytes}m,mode=0700");
        command("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", &own])?;
        self.disks.push(folder.to_owned());
        command("cp", &["-a", &format!("{old}/."), &own])?;
        fs::remove_dir_all(&old).map_err(said("remove a folder"))
    }

    /// Brings what is on the disks back into ordinary folders, and takes the disks away. Nothing may run on them any more.
    ///
    /// # Errors
    /// The first reason; the others are taken away all the same.
    pub(crate) fn take_disks_away(&mut self) -> Result<(), String> {
        let mut outcome = Ok(());
        for folder in std::mem::take(&mut self.disks) {
            let (own, new) = (
                folder.display().to_string(),
                format!("{}.moving", folder.display()),
            );
            let moved = command("cp", &["-a", &own, &new])
                .and_then(|()| command("umount", &[&own]))
                .and_then(|()| fs::remove_dir(&folder).map_err(said("remove a mount point")))
                .and_then(|()| fs::rename(&new, &folder).map_err(said("move a folder")));
            if moved.is_err() {
                let _ = command("umount", &["-l", &own]);
            }
            outcome = outcome.and(moved);
        }
        outcome
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for folder in &self.disks {
            let _ = command("umount", &["-l", &folder.display().to_string()]);
        }
        if self.network {
            self.remove_network();
        }
        if self.clocks.is_some() {
            remove_left_over();
        }
    }
}

/// libfaketime leaves what its processes shared if they were killed; the names end in the number of the first of them.
fn remove_left_over() {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name
            .filter(|name| name.contains("faketime_"))
            .and_then(|name| name.rsplit('_').next());
        if number.is_some_and(|number| !Path::new("/proc").join(number).exists()) {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Whether this process may mount at all.
fn try_mount(root: &Path) -> Result<(), String> {
    let place = root.join("mount-tried");
    fs::create_dir(&place).map_err(said("make a folder"))?;
    let own = place.display().to_string();
    let tried = command("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &own])
        .and_then(|()| command("umount", &[&own]));
    let _ = fs::remove_dir(&place);
    tried
}

fn set_clock(folder: &Path, machine: &str, seconds: i64) -> Result<(), String> {
    let (new, place) = (folder.join(format!(".{machine}")), folder.join(machine));
    fs::write(&new, format!("{seconds:+}\n"))
        .and_then(|()| fs::rename(&new, &place))
        .map_err(said("set a clock"))
}

/// Takes every byte that is left on the disk of a folder. Returns how many there were.
///
/// # Errors
/// If the disk is not full afterwards.
pub(crate) fn fill(folder: &Path) -> Result<u64, String> {
    let path = folder.join(BALLAST);
    let mut file = File::create(&path).map_err(said("make the ballast"))?;
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&path, private).map_err(said("make the ballast"))?;
    let block = vec![0xa5; 64 * 1024];
    let mut written = 0;
    loop {
        match file.write(&block) {
            Ok(bytes) if bytes > 0 => written += bytes as u64,
            Ok(_) => return Ok(written),
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(written),
            Err(error) => return Err(format!("write the ballast: {error}")),
        }
    }
}

/// Gives the bytes back that [`fill`] took.
///
/// # Errors
/// The system's reason.
pub(crate) fn clear(folder: &Path) -> Result<(), String> {
    fs::remove_file(folder.join(BALLAST)).map_err(said("remove the ballast"))
}
