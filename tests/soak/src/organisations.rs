//! How the faults of organisations' peers begin and end, and what the organisations' operators do about them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coordinator::folder::Folder;
use coordinator::organisations;
use coordinator::peer::{ask::AskedPeer, run::read_token};
use coordinator::record::Organisation;
use coordinator::record::wire::PeerStatusView;
use serde_json::{Value, json};
use threshold_exchange::site::{SiteError, Tool};

use crate::faults::{Ceremony, damage, parts_of, put_aside};
use crate::field::{ANSWER_WITHIN, Field, words};
use crate::plan::{APPROVALS, ORGANISATIONS};

/// Room on the disk of a peer.
const PEER_DISK_MIB: u32 = 192;
/// How long an endorsed peer may take until it votes: the rest of an epoch, and what it has to catch up with.
const VOTES_WITHIN: Duration = Duration::from_secs(180);
/// How long the peers may take until all have what is on the record, when nothing is submitted any more.
const AGREE_WITHIN: Duration = Duration::from_secs(60);
/// How long after the loss of its store a peer approves nothing new: what it had noted, and the difference of clocks.
const APPROVES_AGAIN_AFTER: Duration = Duration::from_secs(125);
/// How often is asked who is not ready yet.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The name of the process, and of the machine, of the so-manieth peer that takes another one's place.
pub(crate) fn successor(number: usize) -> String {
    format!("successor-{number}")
}

/// What every refusal of a damaged store says.
const STORE_REFUSED: &str = "the record's store";

impl Field {
    /// The place of an organisation's peer in [`Site::peers`](threshold_exchange::site::Site::peers).
    pub(crate) fn peer_at(&self, organisation: usize) -> usize {
        self.desks.get(organisation).copied().unwrap_or_default()
    }

    /// The name of its process, which its machine has too.
    pub(crate) fn peer_name(&self, organisation: usize) -> String {
        let peer = self.site.peers().get(self.peer_at(organisation));
        peer.map(|peer| peer.name.clone()).unwrap_or_default()
    }

    /// Its folder.
    pub(crate) fn peer_folder(&self, organisation: usize) -> PathBuf {
        let peer = self.site.peers().get(self.peer_at(organisation));
        peer.map(|peer| peer.folder.clone()).unwrap_or_default()
    }

    fn organisation(&self, number: usize) -> Result<String, String> {
        let names = self.site.plan().organisation_names();
        let name = names.get(number).cloned();
        name.ok_or_else(|| "no such organisation".to_owned())
    }

    /// What an organisation's peer says of itself.
    async fn peer_status(&self, organisation: usize) -> Result<PeerStatusView, String> {
        let peer = self.site.peers().get(self.peer_at(organisation));
        let peer = peer.ok_or("no such peer")?;
        let folder = Folder::open_peer(&peer.folder).map_err(|error| error.to_string())?;
        let token = read_token(&folder).map_err(|error| error.to_string())?;
        let asked = AskedPeer::new(peer.url.as_str(), token).map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(ANSWER_WITHIN, asked.status()).await;
        answer
            .map_err(|_| "it does not answer".to_owned())?
            .map_err(|error| error.to_string())
    }

    /// Looks after the peers as their service managers do. Why they are not well, of those that are not. Well is who votes, and has
    /// come to where the first of them was when we began to wait.
    pub(crate) async fn tend_peers(&mut self, goal: &mut Option<u64>) -> Vec<String> {
        let (mut ill, mut heights) = (Vec::new(), Vec::new());
        for organisation in 0..ORGANISATIONS {
            match self.tend_peer(organisation).await {
                Ok(height) => heights.push((organisation, height)),
                Err(reason) => {
                    ill.push(format!("{}: {reason}", self.peer_name(organisation)));
                }
            }
        }
        let highest = heights.iter().map(|(_, height)| *height).max();
        let goal = *goal.get_or_insert(highest.unwrap_or_default());
        for (organisation, height) in heights.into_iter().filter(|(_, height)| *height < goal) {
            let name = self.peer_name(organisation);
            ill.push(format!("{name}: it is at block {height} of {goal}"));
        }
        ill
    }

    async fn tend_peer(&mut self, organisation: usize) -> Result<u64, String> {
        let (index, name) = (self.peer_at(organisation), self.peer_name(organisation));
        let ended = self.site.peer_has_ended(index);
        let running = self
            .site
            .peers()
            .get(index)
            .is_some_and(|it| it.is_running());
        if ended || !running {
            let why = match ended {
                true => "it had ended by itself",
                false => "it was killed",
            };
            self.restarted(&name, why);
            let started = self.site.start_peer(index).await;
            started.map_err(|error| words(&error))?;
        }
        let status = self.peer_status(organisation).await?;
        if let Some(fault) = status.fault {
            // /healthz says 503 then.
            self.restarted(&name, "its peer had stopped taking part");
            let killed = self.site.kill_peer(index).await;
            killed.map_err(|error| words(&error))?;
            return Err(fault);
        }
        for accused in &status.accused {
            // Who has lost its votes may vote a second time in the views that were under way.
            if !self.forgetful.contains(accused.organisation.as_str()) {
                let seen = format!("{name}: {}: {}", accused.organisation, accused.fault);
                self.history().violated("nobody honest is accused", seen);
            }
        }
        if !status.votes {
            return Err("it does not vote".to_owned());
        }
        Ok(status.height)
    }

    pub(crate) async fn kill_peer(&mut self, organisation: usize) -> Result<(), String> {
        let index = self.peer_at(organisation);
        let killed = self.site.kill_peer(index).await;
        killed.map_err(|error| words(&error))
    }

    /// Who takes peers back does not take back more than n − m of them at a time, those that are away included: a peer whose store was
    /// lost approves nothing new for a while, because it does not know what it has approved.
    pub(crate) async fn until_enough_approve_without(&self, organisation: usize) {
        let others = self.set_back.iter().filter(|(it, _)| **it != organisation);
        let mut since: Vec<Instant> = others.map(|(_, since)| *since).collect();
        since.sort_unstable();
        let bears = ORGANISATIONS - APPROVALS - 1;
        if let Some(last) = since.iter().rev().nth(bears) {
            let left = APPROVES_AGAIN_AFTER.saturating_sub(last.elapsed());
            self.history().note("waits", json!(left.as_secs()));
            tokio::time::sleep(left).await;
        }
    }

    fn peer_store(&self, organisation: usize) -> Result<PathBuf, String> {
        let name = self.organisation(organisation)?;
        let folder = self.peer_folder(organisation).join("record");
        Ok(folder.join(format!("{name}.sqlite")))
    }

    /// A peer whose store is damaged must refuse to start, say so, and leave the store as it is. Its operator moves it away, and the
    /// peer makes it again of the order that it has.
    pub(crate) async fn corrupt_peer(&mut self, organisation: usize) -> Result<(), String> {
        self.kill_peer(organisation).await?;
        let (index, name) = (self.peer_at(organisation), self.peer_name(organisation));
        let store = self.peer_store(organisation)?;
        let damaged = damage_store(&store)?;
        let started = self.site.start_peer(index).await;
        if started.is_ok() {
            self.kill_peer(organisation).await?;
        }
        self.refused_by_name(&name, started, &store, &damaged);
        put_aside(&store)?;
        self.set_back.insert(organisation, Instant::now());
        self.by_hand("moved a peer's damaged store away");
        Ok(())
    }

    /// The same with the platform's copy of the record, which it gets from the peers again.
    pub(crate) async fn corrupt_platform(&mut self) -> Result<(), String> {
        self.kill_platform().await?;
        let record = self.site.layout().platform().join("record");
        let store = record.join("mirror.sqlite");
        let damaged = damage_store(&store)?;
        let started = self.site.restart_platform().await;
        if started.is_ok() {
            self.kill_platform().await?;
        }
        self.refused_by_name("platform", started, &store, &damaged);
        put_aside(&store)?;
        self.by_hand("moved the platform's damaged copy of the record away");
        Ok(())
    }

    fn refused_by_name(
        &self,
        who: &str,
        started: Result<(), SiteError>,
        store: &Path,
        damaged: &[u8],
    ) {
        let promise = "a damaged store is refused by name and left as it is";
        match started {
            Err(SiteError::NotReady { said, .. }) if said.contains(STORE_REFUSED) => {
                self.history()
                    .note("refused-a-store", json!([who, said.lines().last()]));
            }
            Err(error) => {
                let seen = format!("{who} said something else: {error}");
                self.history().violated(promise, seen);
            }
            Ok(()) => self.history().violated(promise, format!("{who} started")),
        }
        if fs::read(store).ok().as_deref() != Some(damaged) {
            self.history()
                .violated(promise, format!("{who} wrote to its store"));
        }
    }

    /// All that a peer has of the record and of its part in the order is gone; its keys are there.
    pub(crate) async fn lose_peer(&mut self, organisation: usize) -> Result<(), String> {
        self.kill_peer(organisation).await?;
        let record = self.peer_folder(organisation).join("record");
        for entry in fs::read_dir(&record).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            let removed = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let name = self.organisation(organisation)?;
        self.forgetful.insert(name);
        self.set_back.insert(organisation, Instant::now());
        Ok(())
    }

    /// All peers come to the same record, of so many transactions. Returns how many there are.
    ///
    /// # Errors
    /// Where each of them is, if they do not.
    pub(crate) async fn peers_agree(&self, transactions: u64) -> Result<usize, String> {
        let begun = Instant::now();
        loop {
            let (mut states, mut shown) = (BTreeSet::new(), Vec::new());
            for organisation in 0..ORGANISATIONS {
                let status = self.peer_status(organisation).await?;
                shown.push(format!("{} at {}", status.organisation, status.height));
                states.insert((status.transactions, status.state_root));
            }
            let first = states.pop_first();
            if states.is_empty() && first.is_some_and(|(number, _)| number == transactions) {
                return Ok(shown.len());
            }
            if begun.elapsed() > AGREE_WITHIN {
                let shown = shown.join(", ");
                return Err(format!("the peers differ: {shown}; {transactions} are due"));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// A peer's machine is gone, and its organisation's keys with it. Its operator makes another one, and the other organisations
    /// endorse its keys; it votes from the next epoch on.
    pub(crate) async fn replace_peer(&mut self, organisation: usize) -> Result<(), String> {
        let of = self.organisation(organisation)?;
        self.kill_peer(organisation).await?;
        let name = successor(self.retired_peers.len() + 1);
        let added = self.site.add_peer(&name, &of).await;
        let added = added.map_err(|error| words(&error))?;
        let peer = self.site.peers().get(added).ok_or("no such peer")?;
        let (folder, file) = (peer.folder.clone(), peer.public_file());
        self.lab.give_disk(&folder, PEER_DISK_MIB)?;
        let started = self.site.start_peer(added).await;
        started.map_err(|error| words(&error))?;
        self.by_hand("made a new peer for one that was lost");
        let change = ["--rekey", &file.display().to_string()];
        for other in (0..ORGANISATIONS).filter(|other| *other != organisation) {
            let endorsed = self.site.endorse(self.peer_at(other), &change).await;
            endorsed.map_err(|error| words(&error))?;
        }
        self.by_hand("endorsed an organisation's new keys, a quorum of the others");
        if let Some(place) = self.desks.get_mut(organisation) {
            self.retired_peers.push(std::mem::replace(place, added));
        }
        let begun = Instant::now();
        loop {
            match self.peer_status(organisation).await {
                Ok(status) if status.votes => break,
                other if begun.elapsed() > VOTES_WITHIN => {
                    let seen = format!("{name} of {of}: {other:?}");
                    let promise = "who is endorsed votes from the next epoch on";
                    self.history().violated(promise, seen);
                    break;
                }
                _ => tokio::time::sleep(ASK_EVERY).await,
            }
        }
        self.history().note("votes", json!([name, of]));
        Ok(())
    }

    /// The platform's operator tells it where the new peer answers.
    pub(crate) async fn point_the_platform_at(
        &mut self,
        organisation: usize,
    ) -> Result<(), String> {
        let of = self.organisation(organisation)?;
        let config = self.site.layout().platform().join("coordinator.toml");
        let text = fs::read_to_string(&config).map_err(|error| error.to_string())?;
        let peers = self.site.peers();
        let new = peers.get(self.peer_at(organisation));
        let old = self.retired_peers.last().and_then(|it| peers.get(*it));
        let (Some(new), Some(old)) = (new, old) else {
            return Err(format!("{of} has no new peer"));
        };
        let quoted = |it: &str| json!(it).to_string();
        let token = |peer: &threshold_exchange::site::OrganisationPeer| {
            quoted(&peer.token_file().display().to_string())
        };
        let edited = text
            .replacen(&quoted(&old.url), &quoted(&new.url), 1)
            .replacen(&token(old), &token(new), 1);
        if edited == text {
            return Err(format!("{} does not name the old peer", config.display()));
        }
        fs::write(&config, edited).map_err(|error| error.to_string())?;
        // Auditors get the new key too.
        let keys = self.site.layout().verifiers();
        let public = read_json(&new.public_file())?;
        let text = fs::read_to_string(&keys).map_err(|error| error.to_string())?;
        let own = verifier(&public)?;
        let others = text
            .lines()
            .filter(|line| !line.starts_with(&format!("{of}+")));
        let edited: String = others.map(|line| format!("{line}\n")).collect();
        fs::write(&keys, edited + &own).map_err(|error| error.to_string())?;
        self.by_hand("restarted the platform, which was told of a new peer");
        // Nobody is served until it is back.
        self.history().excuse();
        self.kill_platform().await
    }

    /// The nodes' operators agree to a policy with the new certificate of the organisation's approval authority.
    pub(crate) async fn agree_to_policy_with(
        &mut self,
        organisation: usize,
    ) -> Result<Ceremony, String> {
        let of = self.organisation(organisation)?;
        let policy = self.site.layout().platform().join("policy.toml");
        let public = read_json(&self.peer_folder(organisation).join("organisation.json"))?;
        let certificate = public.get("certificate").and_then(Value::as_str);
        let text = fs::read_to_string(&policy).map_err(|error| error.to_string())?;
        let edited = with_issuer(&text, &of, certificate.unwrap_or_default())?;
        fs::write(&policy, edited).map_err(|error| error.to_string())?;

        let folder = |seat: usize| self.folder(seat).display().to_string();
        let (first, policy) = (folder(0), policy.display().to_string());
        let propose = ["policy", "propose", "--dir", &first, &policy];
        let proposed = self.cryptonode(&propose).await?;
        let said = |field: &str| proposed.get(field).and_then(Value::as_str);
        let (Some(id), Some(words)) = (said("id"), said("words")) else {
            return Err(format!("a proposal without an id: {proposed}"));
        };
        for seat in 1..self.seats.len() {
            let folder = folder(seat);
            let begun = Instant::now();
            let show = ["ceremony", "show", "--dir", &folder, id];
            while let Err(error) = self.cryptonode(&show).await {
                if begun.elapsed() > ANSWER_WITHIN {
                    return Err(error);
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
            let accept = ["policy", "accept", "--dir", &folder, id, "--words", words];
            self.cryptonode(&accept).await?;
        }
        let (program, id) = (self.site.program().clone(), id.to_owned());
        self.by_hand(
            "agreed to a policy with an organisation's new authority, all nodes' operators",
        );
        Ok(tokio::spawn(async move {
            let wait = ["policy", "status", "--dir", &first, &id, "--wait"];
            program.run(Tool::Cryptonode, &wait).await
        }))
    }

    async fn cryptonode(&self, arguments: &[&str]) -> Result<Value, String> {
        let ran = self.site.program().run(Tool::Cryptonode, arguments).await;
        ran.map_err(|error| words(&error))
    }
}

/// Gives the folder of each peer that was made a disk of its own.
///
/// # Errors
/// The system's reason.
pub(crate) fn give_disks(
    lab: &mut crate::lab::Lab,
    site: &threshold_exchange::site::Site,
) -> Result<(), String> {
    site.peers()
        .iter()
        .try_for_each(|peer| lab.give_disk(&peer.folder, PEER_DISK_MIB))
}

/// Damages a store, what a crash left in its journal with it. Returns the store's file as it is now. A file that has blocks in it
/// for certain keeps its first page, by which any damage would be seen at once.
fn damage_store(store: &Path) -> Result<Vec<u8>, String> {
    const FIRST_PAGE: usize = 4096;
    const HAS_BLOCKS: u64 = 256 << 10;
    let length = fs::metadata(store)
        .map_err(|error| error.to_string())?
        .len();
    let from = if length > HAS_BLOCKS { FIRST_PAGE } else { 0 };
    for part in parts_of(store) {
        damage(&part, if part == store { from } else { 0 })?;
    }
    fs::read(store).map_err(|error| error.to_string())
}

fn read_json(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// The line of an organisation in the file of those whose signatures count for auditors, of what it tells the others.
fn verifier(public: &Value) -> Result<String, String> {
    let said = |field: &str| {
        public
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let name = said("name").parse();
    let mut organisation = Organisation {
        name: name.map_err(|_| "no name of an organisation".to_owned())?,
        operator_key: [0; 32],
        head_key: [0; 32],
        issuers: Vec::new(),
    };
    hex::decode_to_slice(said("head_key"), &mut organisation.head_key)
        .map_err(|error| error.to_string())?;
    organisations::verifiers_text(&[organisation]).map_err(|error| error.to_string())
}

/// A policy in which an organisation has this issuer's certificate and no other.
fn with_issuer(policy: &str, organisation: &str, certificate: &str) -> Result<String, String> {
    let mut policy: toml::Table = toml::from_str(policy).map_err(|error| error.to_string())?;
    let listed = policy.get_mut("organisations");
    let listed = listed.and_then(toml::Value::as_array_mut);
    let one = listed.into_iter().flatten().find(|it| {
        let name = it.get("name").and_then(toml::Value::as_str);
        name == Some(organisation)
    });
    let one = one.and_then(toml::Value::as_table_mut);
    let one = one.ok_or_else(|| format!("the policy has no {organisation}"))?;
    let issuers = toml::Value::Array(vec![certificate.into()]);
    one.insert("issuers".to_owned(), issuers);
    toml::to_string(&policy).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_organisation_has_another_issuer_and_the_others_have_theirs() {
        let policy = "approvals_needed = 1\n[[organisations]]\nname = \"a\"\nissuers = [\"A\"]\n\
                      [[organisations]]\nname = \"b\"\nissuers = [\"B\"]\n";
        let edited: toml::Table = with_issuer(policy, "b", "C\n").unwrap().parse().unwrap();
        let expected: toml::Table = policy.replace("\"B\"", "\"C\\n\"").parse().unwrap();
        assert_eq!(edited, expected);
        assert!(with_issuer(policy, "c", "C").is_err());
    }
}
