//! How faults begin and end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use threshold_exchange::site::{Program, SiteError, Tool};
use tokio::task::JoinHandle;

use crate::field::{Field, words};
use crate::lab::{self, Lab, PLATFORM};
use crate::organisations::successor;
use crate::plan::{Episode, Fault};

/// How long a document may take to be written and read while nodes are in trouble.
const SERVED_WITHIN: Duration = Duration::from_secs(90);
/// How long a reshare may take once everybody is well.
const RESHARED_WITHIN: Duration = Duration::from_secs(240);

/// The promise that is broken when nobody is served although enough are there.
pub(crate) const OTHERS_SERVE: &str =
    "with n − t nodes and one organisation's peer in trouble the others serve";

/// What goes on meanwhile and is waited for at the end.
pub(crate) type Ceremony = JoinHandle<Result<Value, SiteError>>;

/// What became of an episode.
#[derive(Default)]
pub(crate) struct Played {
    /// Faults that happened.
    pub(crate) faults: Vec<&'static str>,
    /// Faults that could not be made here.
    pub(crate) left_out: Vec<&'static str>,
}

impl Field {
    /// Plays one episode: the faults begin, last, end, and all is well again.
    ///
    /// # Errors
    /// If the site is not well again after a long time; nothing more can be learned from it then.
    pub(crate) async fn play(&mut self, episode: &Episode) -> Result<Played, String> {
        let (can, cannot): (Vec<Fault>, Vec<Fault>) = episode
            .faults
            .iter()
            .copied()
            .partition(|fault| self.can(fault));
        let names: Vec<&'static str> = can.iter().map(Fault::name).collect();
        for organisation in can.iter().filter_map(Fault::organisation) {
            self.until_enough_approve_without(organisation).await;
        }
        let excused = can.iter().any(Fault::stops_service);
        self.history().note("faults-begin", json!(can));
        self.history().faults(&names, excused);
        let mut ceremonies = Vec::new();
        for fault in &can {
            ceremonies.extend(self.begin(fault).await?);
        }
        tokio::time::sleep(Duration::from_millis(episode.hold_ms)).await;
        if !can.is_empty() && !excused && !self.serves_meanwhile(SERVED_WITHIN).await {
            let seen = format!("nothing could be written and read during {names:?}");
            self.history().violated(OTHERS_SERVE, seen);
        }
        for fault in &can {
            self.end(fault).await?;
        }
        self.history().note("faults-end", json!(names));
        let well = self.until_well().await;
        self.history().note("well", json!(well.is_ok()));
        if well.is_err() {
            self.history().faults(&[], false);
        }
        well?;
        for ceremony in ceremonies {
            self.concluded(ceremony).await;
        }
        for fault in &can {
            if let Fault::ReplacePeer { organisation } = fault {
                let ceremony = self.agree_to_policy_with(*organisation).await?;
                self.concluded(ceremony).await;
            }
        }
        self.history().faults(&[], false);
        Ok(Played {
            faults: names,
            left_out: cannot.iter().map(Fault::name).collect(),
        })
    }

    /// Whether a fault can be made here.
    fn can(&self, fault: &Fault) -> bool {
        match fault {
            Fault::CutNode { .. } | Fault::CutPeer { .. } | Fault::CutPlatform => {
                self.lab.has_cables()
            }
            Fault::FillNodeDisk { .. } | Fault::FillPeerDisk { .. } | Fault::FillPlatformDisk => {
                self.lab.has_disks()
            }
            Fault::JumpNodeClock { .. }
            | Fault::JumpPeerClock { .. }
            | Fault::JumpPlatformClock { .. } => self.lab.has_clocks(),
            // As many new machines as there are.
            Fault::ReplaceNode { .. } => {
                let next = format!("node-{}", self.site.nodes().len() + 1);
                self.lab.has_room_for(&next)
            }
            Fault::ReplacePeer { .. } => {
                let next = successor(self.retired_peers.len() + 1);
                self.lab.has_room_for(&next)
            }
            _ => true,
        }
    }

    async fn begin(&mut self, fault: &Fault) -> Result<Option<Ceremony>, String> {
        let platform = self.site.layout().platform();
        match fault {
            Fault::KillNode { seat } => self.kill_node(*seat).await?,
            Fault::StopNode { seat } => {
                self.signal(self.site.node_pid(self.at(*seat)), Signal::STOP);
            }
            Fault::CutNode { seat } => self.lab.cable(&self.name(*seat), false)?,
            Fault::FillNodeDisk { seat } => drop(lab::fill(&self.folder(*seat))?),
            Fault::JumpNodeClock { seat, seconds } => {
                self.lab.clock(&self.name(*seat), *seconds)?;
                self.until_clock_differs(*seat, *seconds).await?;
            }
            Fault::CorruptNodeStore { seat } => self.corrupt_node(*seat).await?,
            Fault::KillPeer { organisation } => self.kill_peer(*organisation).await?,
            Fault::StopPeer { organisation } => self.signal_peer(*organisation, Signal::STOP),
            Fault::CutPeer { organisation } => {
                self.lab.cable(&self.peer_name(*organisation), false)?;
            }
            Fault::FillPeerDisk { organisation } => {
                let _ = lab::fill(&self.peer_folder(*organisation))?;
            }
            Fault::JumpPeerClock {
                organisation,
                seconds,
            } => self.lab.clock(&self.peer_name(*organisation), *seconds)?,
            Fault::CorruptPeerStore { organisation } => self.corrupt_peer(*organisation).await?,
            Fault::LosePeerStore { organisation } => self.lose_peer(*organisation).await?,
            Fault::ReplacePeer { organisation } => self.replace_peer(*organisation).await?,
            Fault::KillPlatform => self.kill_platform().await?,
            Fault::StopPlatform => self.signal(self.site.platform_pid(), Signal::STOP),
            Fault::CutPlatform => self.lab.cable(PLATFORM, false)?,
            Fault::FillPlatformDisk => drop(lab::fill(&platform)?),
            Fault::JumpPlatformClock { seconds } => self.lab.clock(PLATFORM, *seconds)?,
            Fault::CorruptPlatformStore => self.corrupt_platform().await?,
            Fault::Reshare => return self.propose(None).await.map(Some),
            Fault::ReplaceNode { seat } => return self.replace_node(*seat).await.map(Some),
        }
        Ok(None)
    }

    /// Ends what does not end by itself: who was killed is started by [`Field::until_well`].
    async fn end(&mut self, fault: &Fault) -> Result<(), String> {
        match fault {
            Fault::StopNode { seat } => {
                self.signal(self.site.node_pid(self.at(*seat)), Signal::CONT);
            }
            Fault::CutNode { seat } => self.lab.cable(&self.name(*seat), true)?,
            Fault::FillNodeDisk { seat } => lab::clear(&self.folder(*seat))?,
            Fault::JumpNodeClock { seat, .. } => {
                self.lab.clock(&self.name(*seat), 0)?;
                self.until_clock_differs(*seat, 0).await?;
            }
            Fault::CorruptNodeStore { seat } => {
                let store = self.folder(*seat).join("store.redb");
                fs::rename(backup_of(&store), &store).map_err(|error| error.to_string())?;
                self.by_hand("put a damaged node's store back from the backup");
            }
            Fault::StopPeer { organisation } => self.signal_peer(*organisation, Signal::CONT),
            Fault::CutPeer { organisation } => {
                self.lab.cable(&self.peer_name(*organisation), true)?;
            }
            Fault::FillPeerDisk { organisation } => lab::clear(&self.peer_folder(*organisation))?,
            Fault::JumpPeerClock { organisation, .. } => {
                self.lab.clock(&self.peer_name(*organisation), 0)?;
            }
            Fault::ReplacePeer { organisation } => {
                self.point_the_platform_at(*organisation).await?;
            }
            Fault::StopPlatform => self.signal(self.site.platform_pid(), Signal::CONT),
            Fault::CutPlatform => self.lab.cable(PLATFORM, true)?,
            Fault::FillPlatformDisk => lab::clear(&self.site.layout().platform())?,
            Fault::JumpPlatformClock { .. } => self.lab.clock(PLATFORM, 0)?,
            _ => {}
        }
        Ok(())
    }

    fn signal_peer(&self, organisation: usize, signal: Signal) {
        self.signal(self.site.peer_pid(self.peer_at(organisation)), signal);
    }

    async fn kill_node(&mut self, seat: usize) -> Result<(), String> {
        let index = self.at(seat);
        let killed = self.site.kill_node(index).await;
        killed.map_err(|error| words(&error))
    }

    pub(crate) async fn kill_platform(&mut self) -> Result<(), String> {
        let killed = self.site.kill_platform().await;
        killed.map_err(|error| words(&error))
    }

    /// A node whose store is damaged must refuse to start, say so, and leave the store as it is.
    async fn corrupt_node(&mut self, seat: usize) -> Result<(), String> {
        self.kill_node(seat).await?;
        let store = self.folder(seat).join("store.redb");
        fs::copy(&store, backup_of(&store)).map_err(|error| error.to_string())?;
        damage(&store, 0)?;
        let damaged = fs::read(&store).map_err(|error| error.to_string())?;
        let (index, name) = (self.at(seat), self.name(seat));
        let promise = "a damaged store is refused by name and left as it is";
        match self.site.start_node(index).await {
            Err(SiteError::NotReady { said, .. }) if said.contains("is damaged") => {}
            Err(error) => {
                let seen = format!("{name} said something else: {error}");
                self.history().violated(promise, seen);
            }
            Ok(()) => {
                self.history().violated(promise, format!("{name} started"));
                self.kill_node(seat).await?;
            }
        }
        if fs::read(&store).ok().as_ref() != Some(&damaged) {
            let seen = format!("{name} wrote to its store");
            self.history().violated(promise, seen);
        }
        Ok(())
    }

    /// Has the first node propose, and does not wait for the others.
    async fn propose(&mut self, replaced: Option<(&str, &str)>) -> Result<Ceremony, String> {
        let arguments = self.reshare_arguments(replaced).await?;
        self.by_hand("proposed a reshare");
        let program: Program = self.site.program().clone();
        Ok(tokio::spawn(async move {
            program.run(Tool::Cryptonode, &arguments).await
        }))
    }

    /// A node dies for ever. Its operator makes another one on another machine, and the first node proposes it.
    async fn replace_node(&mut self, seat: usize) -> Result<Ceremony, String> {
        let (lost, old) = (self.name(seat), self.at(seat));
        let description = format!("cluster-with-{lost}.json");
        let description = self.site.layout().root().join(description);
        let exported = self.export_cluster(&description).await;
        exported.map_err(|error| words(&error))?;
        self.described_in.insert(old, description);
        self.kill_node(seat).await?;
        let added = self.site.add_node().await.map_err(|error| words(&error))?;
        let folder = self.site.nodes().get(added).map(|node| node.folder.clone());
        prepare(&mut self.lab, &folder.unwrap_or_default())?;
        let started = self.site.start_node(added).await;
        started.map_err(|error| words(&error))?;
        // The others take the new card by themselves within seconds; the operator does not wait for that.
        for other in (0..self.seats.len()).filter(|other| *other != seat) {
            let folder = self.folder(other).display().to_string();
            let reload = ["reload", "--dir", &folder];
            let reloaded = self.site.program().run(Tool::Cryptonode, &reload).await;
            reloaded.map_err(|error| words(&error))?;
        }
        if let Some(place) = self.seats.get_mut(seat) {
            *place = added;
        }
        self.retired.push(old);
        self.by_hand("made a new node for one that was lost");
        let successor = self.name(seat);
        self.propose(Some((&lost, &successor))).await
    }

    async fn concluded(&mut self, ceremony: Ceremony) {
        let promise = "a reshare ends when everybody is well, and says how";
        let ended = tokio::time::timeout(RESHARED_WITHIN, ceremony).await;
        let seen = match ended {
            Ok(Ok(Ok(result))) => {
                self.history().note("reshared", result.clone());
                if result.get("outcome").and_then(Value::as_str) == Some("activated") {
                    return;
                }
                result.to_string()
            }
            Ok(Ok(Err(error))) => words(&error),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it has not ended".to_owned(),
        };
        self.history().violated(promise, seen);
    }
}

/// What is done to each node's folder before its first start.
///
/// # Errors
/// The system's reason.
pub(crate) fn prepare(lab: &mut Lab, folder: &Path) -> Result<(), String> {
    hasten(&folder.join("config.toml"))?;
    lab.give_disk(folder, NODE_DISK_MIB)
}

/// Room on the disk of a node.
const NODE_DISK_MIB: u32 = 64;
/// Room on the disk of the platform.
pub(crate) const PLATFORM_DISK_MIB: u32 = 512;

/// Sets a node's waits to what a run of minutes can see.
fn hasten(config: &Path) -> Result<(), String> {
    let text = fs::read_to_string(config).map_err(|error| error.to_string())?;
    let edited = text
        .replacen("\noverlap_s = 600\n", "\noverlap_s = 15\n", 1)
        .replacen("\nask_every_s = 60\n", "\nask_every_s = 5\n", 1);
    fs::write(config, edited).map_err(|error| error.to_string())
}

fn backup_of(store: &Path) -> PathBuf {
    store.with_extension("backup")
}

/// The files of an SQLite store that are there.
pub(crate) fn parts_of(store: &Path) -> Vec<PathBuf> {
    ["", "-wal", "-shm"]
        .iter()
        .map(|end| PathBuf::from(format!("{}{end}", store.display())))
        .filter(|path| path.exists())
        .collect()
}

/// Turns a bit in every 256 bytes of a file, from some byte on.
pub(crate) fn damage(file: &Path, from: usize) -> Result<(), String> {
    let mut bytes = fs::read(file).map_err(|error| error.to_string())?;
    bytes
        .iter_mut()
        .skip(from + 17)
        .step_by(256)
        .for_each(|byte| *byte ^= 0x10);
    fs::write(file, bytes).map_err(|error| error.to_string())
}

/// Moves a store away, as evidence.
pub(crate) fn put_aside(store: &Path) -> Result<(), String> {
    let moved = format!("{}.aside", store.display());
    let _ = fs::remove_file(&moved);
    for part in parts_of(store) {
        if part == store {
            fs::rename(&part, &moved).map_err(|error| error.to_string())?;
        } else {
            fs::remove_file(&part).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}
