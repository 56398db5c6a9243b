//! Settings that nodes get before they start, other than those they come with.

use std::fs;

use cryptonode::config::CONFIG_FILE;
use threshold_exchange::site::{Site, SiteError};

use super::Arguments;
use super::outcome::Failure;

/// A line of the configuration as it comes, and what is to stand there.
type Edit = (&'static str, String);

/// Writes what the arguments ask for into the configurations of nodes that have not started yet.
///
/// # Errors
/// A file that cannot be read or written, or that is not as `cryptonode init` writes it: then nothing would have been set.
pub(super) fn write(site: &Site, arguments: &Arguments) -> Result<(), Failure> {
    let edits = edits(arguments);
    if edits.is_empty() {
        return Ok(());
    }
    for node in site.nodes() {
        let path = node.folder.join(CONFIG_FILE);
        let io = |error| SiteError::io(format!("change {}", path.display()))(error);
        let text = fs::read_to_string(&path).map_err(io)?;
        let edited = edits
            .iter()
            .try_fold(text, |text, edit| edited(&text, edit))
            .map_err(|line| {
                SiteError::Unexpected(format!(
                    "{} has no line `{line}`, so that nothing would be set: look at what `cryptonode init` writes",
                    path.display()
                ))
            })?;
        fs::write(&path, edited).map_err(io)?;
    }
    Ok(())
}

fn edits(arguments: &Arguments) -> Vec<Edit> {
    let mut edits = Vec::new();
    if arguments.client_rate > 0 {
        let bound = format!("requests_per_second = {}", arguments.client_rate);
        edits.push(("requests_per_second = 0", bound));
    }
    if arguments.unwatched {
        edits.push(("members_every_s = 15", "members_every_s = 0".to_owned()));
        edits.push(("every_s = 60", "every_s = 0".to_owned()));
    }
    edits
}

/// The text with one line for another, or the line that is not there.
fn edited(text: &str, (from, to): &Edit) -> Result<String, &'static str> {
    match text.split_once(&format!("\n{from}\n")) {
        Some((before, after)) => Ok(format!("{before}\n{to}\n{after}")),
        None => Err(from),
    }
}

#[cfg(test)]
mod tests {
    #![allow(missing_docs)]
    use super::*;

    #[test]
    fn a_setting_that_would_set_nothing_is_noticed() {
        let config = "[clients]\nrequests_per_second = 0\nburst = 9\n";
        let bound = (
            "requests_per_second = 0",
            "requests_per_second = 300".to_owned(),
        );
        assert_eq!(
            edited(config, &bound).as_deref(),
            Ok("[clients]\nrequests_per_second = 300\nburst = 9\n")
        );
        assert_eq!(
            edited("[clients]\nrequests_each_second = 0\n", &bound),
            Err("requests_per_second = 0")
        );
    }
}
