//! `cryptonode policy`: the policy for new keys, and changes of the policy of a key that is there.
//!
//! A change is a reshare that gives the key another policy: the proposal, its words, its acceptance and its end are those of
//! `cryptonode ceremony`. What is here shows its operators what they agree to.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::ceremony::{accept, ask, asks, confirm, line, propose, reject, status};
use super::member::open;
use super::output::field;
use super::{Dir, Failure, Output, exit};
use crate::admin::{Command, KeyPolicy};
use crate::ceremony::CeremonyView;
use crate::config::{policy_text, read_policy};
use crate::policy_words::{PolicyChange, PolicyView};
use crate::store::write_private;

/// `cryptonode policy`.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Check a policy file and take it for keys that are made from now on.
    Set {
        #[command(flatten)]
        dir: Dir,
        /// The policy, TOML, as the organisations agreed on it.
        file: PathBuf,
    },
    /// Show the policy for new keys; or the one of a key, or of a proposal, as the running node has it.
    #[command(after_help = "\
Examples:
  cryptonode policy show --dir n1
  cryptonode policy show --dir n1 --key 3af1 --out policy-of-3af1.toml")]
    Show {
        #[command(flatten)]
        dir: Dir,
        /// The policy of this key: Y in hexadecimal, or the head of it.
        #[arg(long, value_name = "KEY", conflicts_with = "proposal")]
        key: Option<String>,
        /// The policy that this proposal would give its key: its id, or the head of it.
        #[arg(long, value_name = "ID")]
        proposal: Option<String>,
        /// Write it into this file too, as TOML.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Say in words what a proposal, or a file, would change of a key's policy.
    #[command(after_help = "\
Examples:
  cryptonode policy diff --dir n2
  cryptonode policy diff --dir n1 --file new-policy.toml --key 3af1")]
    Diff {
        #[command(flatten)]
        dir: Dir,
        /// The proposal's id, or the head of it; the latest that changes a policy if absent.
        #[arg(conflicts_with = "file")]
        id: Option<String>,
        /// A policy file instead of a proposal.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The key that the file is compared with; the only one if absent.
        #[arg(long, value_name = "KEY", requires = "file")]
        key: Option<String>,
    },
    /// Propose another policy for a key, with this node as leader. Every member's operator has to agree.
    #[command(after_help = "\
The key stays, and so does everything encrypted under it; its members get new shares with the new policy. Reads go on meanwhile. Every \
member's operator sees the change in words (`policy diff`) and agrees by `policy accept`; accept_from does not do it for them. The new \
policy governs as soon as a member has its new share, for the old share too.

Examples:
  A new organisation, or a new issuer of one:
    cryptonode policy propose --dir n1 new-policy.toml --key 3af1 --wait
  n5 is dead, and takes no part from then on:
    cryptonode policy propose --dir n1 new-policy.toml --key 3af1 --absent n5")]
    Propose {
        #[command(flatten)]
        dir: Dir,
        /// The policy, TOML, as the organisations agreed on it.
        file: PathBuf,
        /// Y in hexadecimal, or the head of it; the only key if absent.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Names of present members that it may go without, since they are dead or not to be trusted: they are members no more.
        #[arg(long, value_delimiter = ',', value_name = "NAMES")]
        absent: Vec<String>,
        /// Number the attempts from here on, if a member has refused with attempt-taken and this number.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after_attempt: u32,
        /// How long the proposal stays open, in seconds.
        #[arg(long, value_name = "SECONDS")]
        open_for_s: Option<u64>,
        /// How long one of those named by --absent is waited for once all others have accepted, in seconds [default: 30].
        #[arg(long, value_name = "SECONDS")]
        patience_s: Option<u32>,
        /// Allow fewer than 2t − 1 members, although some of them falling silent then loses the key.
        #[arg(long)]
        allow_few_members: bool,
        /// Return when the proposal is decided.
        #[arg(long)]
        wait: bool,
    },
    /// Agree to the policy of a proposal.
    #[command(after_help = "\
Says in words what changes. On a terminal the words of the proposal are asked to be confirmed; scripts give them by --words.

Example:
  cryptonode policy accept 3af1 --dir n2 --words \"abandon ability able about above absent\"")]
    Accept {
        #[command(flatten)]
        dir: Dir,
        /// Its id, or the head of it.
        id: String,
        /// The words as the proposer has told them; other ones accept nothing.
        #[arg(long, value_name = "WORDS")]
        words: Option<String>,
    },
    /// Reject a proposal: nothing comes of it.
    Reject {
        #[command(flatten)]
        dir: Dir,
        /// Its id, or the head of it.
        id: String,
        /// A sentence for the other operators.
        #[arg(long, default_value = "the operator rejected the policy")]
        reason: String,
    },
    /// The proposals that change a policy; or one of them, its step, and who is being waited for.
    Status {
        #[command(flatten)]
        dir: Dir,
        /// Its id, or the head of it.
        #[arg(required_if_eq("wait", "true"))]
        id: Option<String>,
        /// Return when it is decided, and print every change until then.
        #[arg(long)]
        wait: bool,
    },
}

pub(super) fn run(command: PolicyCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        PolicyCommand::Set { dir, file } => set(&dir.dir, &file, output),
        PolicyCommand::Show {
            dir: Dir { dir },
            key,
            proposal,
            out,
        } => {
            let policy = match (key, proposal) {
                (None, None) => read_policy(&open(&dir)?.0.policy)?,
                (key, None) => of_key(&dir, key)?.present()?,
                (_, proposal) => of_proposal(&dir, proposal)?.proposed()?,
            };
            if let Some(path) = out {
                write_private(&path, policy_text(&policy).as_bytes(), true)?;
            }
            let view = PolicyView::of(&policy);
            output.result(&view, &lines(&view))
        }
        PolicyCommand::Diff {
            dir: Dir { dir },
            id,
            file: None,
            ..
        } => {
            let shown = of_proposal(&dir, id)?;
            let diff = Diff::of(&shown)?;
            output.result(&diff.value(shown.0.ceremony.as_ref()), &diff.lines())
        }
        PolicyCommand::Diff {
            dir: Dir { dir },
            file: Some(file),
            key,
            ..
        } => {
            let proposed = read_policy(&file)?;
            let shown = of_key(&dir, key)?;
            let diff = Diff::between(&shown.present()?, &proposed);
            output.result(&diff.value(None), &diff.lines())
        }
        PolicyCommand::Propose {
            dir: Dir { dir },
            file,
            key,
            absent,
            after_attempt,
            open_for_s,
            patience_s,
            allow_few_members,
            wait,
        } => {
            let policy = read_policy(&file)?;
            let command = Command::CeremonyPropose {
                threshold: None,
                reshare: Some(key.unwrap_or_default()),
                policy: Some(hex::encode(policy.to_bytes())),
                absent,
                after_attempt,
                members: None,
                open_for_s,
                may_be_absent: 0,
                patience_s,
                allow_few_members,
            };
            propose(&dir, &command, wait, output)
        }
        PolicyCommand::Accept {
            dir: Dir { dir },
            id,
            words,
        } => agree(&dir, id, words.as_deref(), output),
        PolicyCommand::Reject {
            dir: Dir { dir },
            id,
            reason,
        } => reject(&dir, id, reason, output),
        PolicyCommand::Status {
            dir: Dir { dir },
            id: None,
            ..
        } => {
            let mut views: Vec<CeremonyView> = ask(&dir, &Command::CeremonyList {})?;
            views.retain(CeremonyView::changes_policy);
            let lines: Vec<String> = views.iter().map(line).collect();
            output.result(&views, &lines)
        }
        PolicyCommand::Status {
            dir: Dir { dir },
            id,
            wait,
        } => status(&dir, id, wait, output),
    }
}

fn set(dir: &Path, file: &Path, output: &mut Output) -> Result<(), Failure> {
    let (config, _) = open(dir)?;
    let policy = read_policy(file)?;
    let text = fs::read(file).map_err(|error| {
        let message = format!("cannot read {}: {error}", file.display());
        Failure::new(exit::CONFIGURATION, "policy", message)
    })?;
    write_private(&config.policy, &text, true)?;
    let view = PolicyView::of(&policy);
    output.result(&view, &lines(&view))?;
    output
        .note("It holds for keys that are made from now on, once the node has been started again.");
    Ok(())
}

/// Shows what would change, has the words compared, and agrees to what was shown.
fn agree(dir: &Path, id: String, words: Option<&str>, output: &mut Output) -> Result<(), Failure> {
    let shown = of_proposal(dir, Some(id))?;
    let policy = shown.proposed()?;
    let view = shown.0.ceremony.clone().ok_or_else(no_proposal)?;
    if words.is_none() && !asks(output) {
        let message = format!(
            "nobody is at a terminal to compare the words: give those that the proposer has told you by --words (this node sees: {}); nothing was accepted",
            view.words
        );
        return Err(Failure::new(exit::USAGE, "words-needed", message));
    }
    if !output.is_json() {
        for line in Diff::of(&shown)?.lines() {
            output.note(&line);
        }
        output.note(&field("words", &view.words));
    }
    confirm(&view, words, output)?;
    accept(dir, view.id, Some(hex::encode(policy.hash())), output)
}

/// The policies that the running node has told of.
struct Shown(KeyPolicy);

fn of_key(dir: &Path, public_key: Option<String>) -> Result<Shown, Failure> {
    let ceremony = None;
    let command = Command::KeyPolicy {
        ceremony,
        public_key,
    };
    Ok(Shown(ask(dir, &command)?))
}

fn of_proposal(dir: &Path, id: Option<String>) -> Result<Shown, Failure> {
    let command = Command::KeyPolicy {
        ceremony: Some(id.unwrap_or_default()),
        public_key: None,
    };
    Ok(Shown(ask(dir, &command)?))
}

fn no_proposal() -> Failure {
    let message = "this node does not have the proposed policy: ask its proposer for the file";
    Failure::new(exit::FAILED, "policy-missing", message)
}

impl Shown {
    fn read(text: Option<&String>) -> Option<certs::Policy> {
        certs::Policy::from_bytes(&hex::decode(text?).ok()?).ok()
    }

    fn present(&self) -> Result<certs::Policy, Failure> {
        Self::read(self.0.present.as_ref()).ok_or_else(|| {
            let message =
                "this node does not have the key's policy: ask a member that serves the key";
            Failure::new(exit::FAILED, "policy-missing", message)
        })
    }

    fn proposed(&self) -> Result<certs::Policy, Failure> {
        Self::read(self.0.proposed.as_ref()).ok_or_else(no_proposal)
    }
}

/// A policy that is proposed, beside the one that governs.
struct Diff {
    /// `None` for a node that comes in and has never seen it.
    present: Option<PolicyView>,
    proposed: PolicyView,
    changes: Vec<PolicyChange>,
}

impl Diff {
    fn of(shown: &Shown) -> Result<Self, Failure> {
        let proposed = shown.proposed()?;
        Ok(match shown.present() {
            Ok(present) => Self::between(&present, &proposed),
            Err(_) => Self {
                present: None,
                proposed: PolicyView::of(&proposed),
                changes: Vec::new(),
            },
        })
    }

    fn between(present: &certs::Policy, proposed: &certs::Policy) -> Self {
        let (present, proposed) = (PolicyView::of(present), PolicyView::of(proposed));
        Self {
            changes: present.changes_to(&proposed),
            present: Some(present),
            proposed,
        }
    }

    fn value(&self, ceremony: Option<&CeremonyView>) -> Value {
        let words: Vec<String> = self.changes.iter().map(ToString::to_string).collect();
        json!({
            "present": self.present, "proposed": self.proposed, "changes": self.changes, "in_words": words,
            "ceremony": ceremony.map(|view| &view.id), "words": ceremony.map(|view| &view.words),
        })
    }

    fn lines(&self) -> Vec<String> {
        let Some(present) = &self.present else {
            let mut all = vec![
                "This node comes in and has never seen the key's present policy. It would be:"
                    .to_owned(),
            ];
            all.extend(lines(&self.proposed));
            return all;
        };
        let mut all = vec![
            field("from policy", &present.policy_hash),
            field("to policy", &self.proposed.policy_hash),
        ];
        if self.changes.is_empty() {
            all.push("Nothing changes.".to_owned());
        }
        all.extend(self.changes.iter().map(|change| format!("- {change}")));
        all
    }
}

fn lines(view: &PolicyView) -> Vec<String> {
    let mut all = vec![
        field("policy", &view.policy_hash),
        field(
            "approvals needed",
            format!("{} of {}", view.approvals_needed, view.organisations.len()),
        ),
        field("organisations", view.organisations.join(", ")),
    ];
    all.extend(view.issuers.iter().map(|issuer| {
        let name = format!("issuer of {}", issuer.organisation);
        field(&name, issuer)
    }));
    all.push(field(
        "longest approval",
        format!(
            "{} s, clocks may differ by {} s",
            view.max_lifetime_s, view.tolerance_s
        ),
    ));
    all
}
