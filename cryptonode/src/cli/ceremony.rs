//! `cryptonode ceremony`: commands to the running node.

mod text;

use std::io::IsTerminal;
use std::path::Path;

use clap::Subcommand;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(super) use text::line;
use text::{again, print, show};

use super::{Dir, Failure, Output, exit};
use crate::admin::{self, Command};
use crate::ceremony::CeremonyView;

/// `cryptonode ceremony`.
#[derive(Debug, Subcommand)]
pub(super) enum CeremonyCommand {
    /// Propose a key, or new shares of one, with this node as leader.
    #[command(after_help = "\
Every member's operator accepts by `cryptonode ceremony accept`, or has put this node into ceremony.accept_from. \
Nobody has to be awake at the same moment: the proposal stays open for 24 hours unless the configuration or --open-for-s says otherwise.

With --reshare the key stays what it is, and so does everything encrypted under it; its members get new shares, and the old \
ones are erased. Reads go on meanwhile. Proposed on a member that serves the key; old and new members accept. The approval policy stays \
the key's; `cryptonode policy propose` changes it.

Examples:
  A new key, of which any 3 of all configured nodes answer a read:
    cryptonode ceremony propose --dir n1 --threshold 3 --wait
  New shares for the same members, after a disk may have leaked:
    cryptonode ceremony propose --dir n1 --reshare 3af1 --wait
  n1 to n4 stay, n5 goes, n6 to n8 are new; from now on 4 answer a read:
    cryptonode ceremony propose --dir n1 --reshare 3af1 --members n1,n2,n3,n4,n6,n7,n8 --threshold 4
  n4 and n5 are dead, and n6 and n7 take their places:
    cryptonode ceremony propose --dir n1 --reshare 3af1 --absent n4,n5 --members n1,n2,n3,n6,n7")]
    Propose {
        #[command(flatten)]
        dir: Dir,
        /// Hand the shares of this key on: Y in hexadecimal, or the head of it.
        #[arg(long, value_name = "KEY")]
        reshare: Option<String>,
        /// t: how many nodes must answer a read; in a reshare it stays as it is unless given.
        #[arg(long, required_unless_present = "reshare")]
        threshold: Option<u16>,
        /// Names of the members, separated by commas. If not given: for a new key all configured members and this node, in a
        /// reshare the present members but for those named by --absent.
        #[arg(long, value_delimiter = ',', value_name = "NAMES")]
        members: Option<Vec<String>>,
        /// Names of present members that the reshare may go without, since they are dead or not to be trusted. As many as a
        /// read takes must be left.
        #[arg(
            long,
            value_delimiter = ',',
            value_name = "NAMES",
            requires = "reshare"
        )]
        absent: Vec<String>,
        /// Number the attempts from here on, if a member has refused with attempt-taken and this number.
        #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "reshare")]
        after_attempt: u32,
        /// How long the proposal stays open, in seconds.
        #[arg(long, value_name = "SECONDS")]
        open_for_s: Option<u64>,
        /// How many of the members may be left out when they stay silent, decline or cheat; the ceremony then goes on without
        /// them by itself, and names them with the evidence. Nobody may unless it is said: who is left out has no share, is one spare less for
        /// reads until the next reshare, and may have been left out on the word of whoever leads. For members that are known to be gone,
        /// `status` has the command that proposes the same without them.
        #[arg(long, value_name = "COUNT", default_value_t = 0)]
        may_be_absent: u16,
        /// How long a member that may be left out may keep silent in a step until it is, in seconds [default: 300, or 30 if it
        /// can only be one of those named by --absent].
        #[arg(long, value_name = "SECONDS")]
        patience_s: Option<u32>,
        /// Allow fewer than 2t − 1 members, although some of them falling silent then loses the key.
        #[arg(long)]
        allow_few_members: bool,
        /// Return when the ceremony is decided.
        #[arg(long)]
        wait: bool,
    },
    /// All ceremonies that this node knows, with the words of each proposal.
    List(Dir),
    /// What was proposed: who, by whom, how, until when, and the words by which operators compare it.
    #[command(after_help = "\
Every node shows the same six words for the same proposal. Read them to the proposer by telephone before accepting.")]
    Show {
        #[command(flatten)]
        dir: Dir,
        /// Its id, or the head of it; the latest if absent.
        id: Option<String>,
    },
    /// Accept a proposal that waits for this node's operator.
    #[command(after_help = "\
On a terminal the proposal is shown, and the words are asked to be confirmed, unless they are given by --words.

Example:
  cryptonode ceremony accept 3af1 --dir n1 --words \"abandon ability able about above absent\"")]
    Accept {
        #[command(flatten)]
        dir: Dir,
        /// Its id, or the head of it.
        id: String,
        /// The words as the proposer has told them; other ones accept nothing.
        #[arg(long, value_name = "WORDS")]
        words: Option<String>,
    },
    /// Reject a proposal.
    Reject {
        #[command(flatten)]
        dir: Dir,
        /// Its id, or the head of it.
        id: String,
        /// A sentence for the other operators.
        #[arg(long, default_value = "the operator rejected it")]
        reason: String,
    },
    /// Call off a ceremony that this node leads.
    Abort {
        #[command(flatten)]
        dir: Dir,
        /// Its id, or the head of it.
        id: String,
    },
    /// One ceremony: its step, and who is being waited for.
    Status {
        #[command(flatten)]
        dir: Dir,
        /// Its id, or the head of it; the latest if absent.
        id: Option<String>,
        /// Return when it is decided, and print every change until then.
        #[arg(long)]
        wait: bool,
    },
}

pub(super) fn run(command: CeremonyCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        CeremonyCommand::Propose {
            dir: Dir { dir },
            reshare,
            threshold,
            members,
            absent,
            after_attempt,
            open_for_s,
            may_be_absent,
            patience_s,
            allow_few_members,
            wait,
        } => {
            let command = Command::CeremonyPropose {
                threshold,
                reshare,
                policy: None,
                absent,
                after_attempt,
                members,
                open_for_s,
                may_be_absent,
                patience_s,
                allow_few_members,
            };
            propose(&dir, &command, wait, output)
        }
        CeremonyCommand::List(Dir { dir }) => {
            let views: Vec<CeremonyView> = ask(&dir, &Command::CeremonyList {})?;
            let lines: Vec<String> = views.iter().map(line).collect();
            output.result(&views, &lines)
        }
        CeremonyCommand::Show {
            dir: Dir { dir },
            id,
        } => {
            let view: CeremonyView = ask(&dir, &Command::CeremonyStatus { id, wait: false })?;
            show(&dir, &view, output)
        }
        CeremonyCommand::Accept {
            dir: Dir { dir },
            id,
            words,
        } => {
            // What is accepted is what was compared, whatever else arrives meanwhile.
            let id = compare(&dir, id, words.as_deref(), output)?;
            accept(&dir, id, None, output)
        }
        CeremonyCommand::Reject {
            dir: Dir { dir },
            id,
            reason,
        } => reject(&dir, id, reason, output),
        CeremonyCommand::Abort {
            dir: Dir { dir },
            id,
        } => {
            let view: CeremonyView = ask(&dir, &Command::CeremonyAbort { id })?;
            print(&dir, &view, output)
        }
        CeremonyCommand::Status {
            dir: Dir { dir },
            id,
            wait,
        } => status(&dir, id, wait, output),
    }
}

/// Makes a proposal, and waits for its end if that is wished for.
pub(super) fn propose(
    dir: &Path,
    command: &Command,
    wait: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let view: CeremonyView = ask(dir, command)?;
    if wait {
        status(dir, Some(view.id), true, output)
    } else {
        print(dir, &view, output)
    }
}

/// Accepts a proposal; one that changes a policy with the hash of what its operator was shown.
pub(super) fn accept(
    dir: &Path,
    id: String,
    policy_hash: Option<String>,
    output: &mut Output,
) -> Result<(), Failure> {
    let view: CeremonyView = ask(dir, &Command::CeremonyAccept { id, policy_hash })?;
    print(dir, &view, output)
}

pub(super) fn reject(
    dir: &Path,
    id: String,
    reason: String,
    output: &mut Output,
) -> Result<(), Failure> {
    let view: CeremonyView = ask(dir, &Command::CeremonyReject { id, reason })?;
    print(dir, &view, output)
}

/// Compares the words, by the option or by asking on a terminal. Gives the whole id.
fn compare(
    dir: &Path,
    id: String,
    words: Option<&str>,
    output: &mut Output,
) -> Result<String, Failure> {
    if words.is_none() && !asks(output) {
        return Ok(id);
    }
    let id = Some(id);
    let view: CeremonyView = ask(dir, &Command::CeremonyStatus { id, wait: false })?;
    if words.is_none() {
        show(dir, &view, output)?;
    }
    confirm(&view, words, output)?;
    Ok(view.id)
}

/// Whether there is somebody to ask.
pub(super) fn asks(output: &Output) -> bool {
    !output.is_json() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Compares the words that were told, or has somebody at a terminal compare them.
pub(super) fn confirm(
    view: &CeremonyView,
    words: Option<&str>,
    output: &mut Output,
) -> Result<(), Failure> {
    if let Some(words) = words {
        let told: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
        if told.join(" ") == view.words {
            return Ok(());
        }
        let message = format!(
            "this node's proposal has other words ({}): it is not the one that you were told of; nothing was accepted",
            view.words
        );
        return Err(Failure::new(exit::FAILED, "other-words", message));
    }
    output.note("Are these the words that the proposer sees? Type `yes` to accept:");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim().eq_ignore_ascii_case("yes") {
        Ok(())
    } else {
        let message = "nothing was accepted: `cryptonode ceremony reject` tells the proposer";
        Err(Failure::new(exit::FAILED, "not-confirmed", message))
    }
}

/// Sends a command whose result is a `T`.
pub(super) fn ask<T: DeserializeOwned>(dir: &Path, command: &Command) -> Result<T, Failure> {
    read(admin::request(dir, command, |_| {})?)
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| {
        let message = format!(
            "the running node's answer cannot be read ({error}): restart it with this version"
        );
        Failure::new(exit::FAILED, "other-version", message)
    })
}

pub(super) fn status(
    dir: &Path,
    id: Option<String>,
    wait: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let result = admin::request(dir, &Command::CeremonyStatus { id, wait }, |event| {
        if let Ok(view) = serde_json::from_value::<CeremonyView>(event.clone()) {
            let event = serde_json::json!({ "event": "ceremony", "ceremony": view });
            let _ = output.event(&event, &line(&view));
        }
    })?;
    let view: CeremonyView = read(result)?;
    print(dir, &view, output)?;
    if view.decided && !view.succeeded() {
        let outcome = view.outcome.as_deref().unwrap_or("failed");
        let reason = view.sentence.as_deref().unwrap_or("no reason was given");
        let again =
            again(dir, &view).map(|command| format!("; to propose it without them: {command}"));
        let message = format!(
            "the ceremony {outcome}: {reason}{}",
            again.unwrap_or_default()
        );
        return Err(Failure::new(exit::CEREMONY, "ceremony", message));
    }
    Ok(())
}
