//! A key as its operator sees it: what is served, what is on its way out, what was missed.

use crate::admin::{CommandError, EpochView, ExportedKey, KeyView};
use crate::client::{ClusterDescriptor, describe};
use crate::keyring::{AbsenceKind, KeyEntry, KeyRefusal};
use crate::server;

pub(super) const SERVING: &str = "serving";
pub(super) const OVERLAP: &str = "overlap";
const RETIRED: &str = "retired";
pub(super) const MISSED: &str = "missed";

/// `None` if there is nothing yet but the record of a ceremony that goes on.
pub(super) fn view(entry: &KeyEntry) -> Option<KeyView> {
    let state = entry.state();
    let public_key = hex::encode(entry.public_key());
    let history = state
        .history
        .iter()
        .map(|past| EpochView {
            epoch: past.result.epoch,
            attempt: past.result.attempt,
            threshold: past.threshold,
            members: past.members.clone(),
            index: past.index,
            since: past.since,
            erased: past.erased,
        })
        .collect();
    let (name, sentence) = match (&state.absence, entry.previous().first()) {
        (Some(absence), _) if absence.kind == AbsenceKind::Missed => {
            let successor = (&absence.successor).into();
            let refusal = KeyRefusal::Missed { successor };
            let sentence = format!("{} ({public_key}): {refusal}", refusal.code());
            (MISSED, Some(sentence))
        }
        (Some(absence), _) => {
            let successor = (&absence.successor).into();
            let refusal = KeyRefusal::Retired { successor };
            (RETIRED, Some(format!("{}: {refusal}", refusal.code())))
        }
        (None, Some(_)) => {
            let earlier = entry.previous().iter();
            let earlier: Vec<String> = earlier.map(|key| key.result.to_string()).collect();
            let sentence = format!(
                "the share of {} is still there, and answered with",
                earlier.join("; of ")
            );
            (OVERLAP, Some(sentence))
        }
        (None, None) => (SERVING, None),
    };
    let mut view = KeyView {
        public_key,
        epoch: 0,
        index: 0,
        threshold: 0,
        members: 0,
        attempt: 0,
        state: name.to_owned(),
        sentence,
        epochs_held: entry.held().map(|key| key.result.epoch).collect(),
        overlap_ends: state
            .overlap()
            .filter(|_| !entry.previous().is_empty())
            .map(|overlap| overlap.end()),
        history,
        member_names: Vec::new(),
        policy_hash: String::new(),
        approvals_needed: 0,
        organisations: Vec::new(),
    };
    // What is served; and of a key that is not, what it has become.
    let newest = state.newest.as_ref().map(|newest| &newest.certificate);
    let served = entry.served().next();
    match (served, newest, entry.previous().first()) {
        (Some(key), _, _) | (None, None, Some(key)) => {
            view.epoch = key.result.epoch;
            view.attempt = key.result.attempt;
            view.index = key.share.index();
            view.threshold = key.package.threshold();
            view.members = key.members.len();
            view.member_names = key
                .members
                .iter()
                .map(|member| member.name.clone())
                .collect();
            view.policy_hash = hex::encode(key.policy.hash());
            view.approvals_needed = key.policy.approvals_needed();
            let organisations = key.policy.organisations().iter();
            view.organisations = organisations.map(|one| one.name.clone()).collect();
        }
        (None, Some(certificate), _) => {
            view.epoch = certificate.name().epoch;
            view.attempt = certificate.name().attempt;
            view.threshold = certificate.package().threshold();
            view.members = certificate.members().len();
            let members = certificate.members().iter();
            view.member_names = members.map(|member| member.name.clone()).collect();
            view.policy_hash = hex::encode(certificate.policy_hash());
        }
        (None, None, None) if state.absence.is_some() => {}
        (None, None, None) => return None,
    }
    Some(view)
}

/// What others need of a key: of its newest result, whether or not this node has a share of it.
pub(super) fn exported(entry: &KeyEntry) -> Result<ExportedKey, CommandError> {
    let newest = entry.state().newest.as_ref();
    let nothing = || {
        let message = "nothing of this key can be exported: its newest certificate is not known here; ask one of its members";
        CommandError::new("no-key-certificate", message)
    };
    let (descriptor, certificate): (ClusterDescriptor, String) = match (entry.current(), newest) {
        (Some(key), _) => (server::descriptor(key), hex::encode(&key.certificate)),
        (None, Some(newest)) => {
            let addresses: Vec<Vec<String>> = newest
                .addresses
                .iter()
                .map(|address| vec![address.clone()])
                .collect();
            (describe(&newest.certificate, &addresses), String::new())
        }
        (None, None) => return Err(nothing()),
    };
    let current = entry.current().map(|key| key.result);
    let signed =
        newest.filter(|newest| current.is_none_or(|name| newest.certificate.name() == name));
    Ok(ExportedKey {
        key: view(entry).ok_or_else(nothing)?,
        descriptor: descriptor.to_json(),
        certificate,
        key_certificate: signed.map(|newest| hex::encode(newest.certificate.as_bytes())),
    })
}
