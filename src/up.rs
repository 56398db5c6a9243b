//! `up`: a whole site that stays, and what to type next.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::UpArguments;
use crate::demo::{Story, Told};
use crate::site::{
    DATASET, Exchange, Home, Program, READER, STRANGER, Site, SiteError, SitePlan, WRITER,
    interruption,
};

/// Starts a site, tells what to type next, and stays until it is interrupted.
pub async fn run(arguments: UpArguments) -> ExitCode {
    let place = &arguments.place;
    let made = Home::make(place.dir.as_deref(), arguments.keep)
        .and_then(|home| Ok((home, Program::current(&place.log)?)));
    let (home, program) = match made {
        Ok(made) => made,
        Err(error) => {
            if arguments.json {
                let document = json!({ "event": "failed", "error": { "code": error.code(), "message": error.to_string() } });
                anstream::println!("{document}");
            }
            anstream::eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let mut site =
        Site::new(home.layout().clone(), program, SitePlan::default()).ordered_by(place.engine);
    let mut story = Story::new(arguments.json);
    let up = tokio::select! {
        up = start(&mut site, &mut story) => up,
        () = interruption() => None,
    };
    if up.is_some() {
        if arguments.json {
            let ready = json!({ "event": "ready", "dir": site.layout().root(), "url": site.url() });
            anstream::println!("{ready}");
        } else {
            tell_next(&site, &story);
        }
        interruption().await;
        story.say("\nStopping everything …");
    }
    let stopped = site.stop().await;
    let fine = up.is_some() && stopped.is_ok();
    if home.finish(fine) && !arguments.json {
        story.say(&format!(
            "The files are in {}.",
            site.layout().root().display()
        ));
    }
    if let Err(error) = stopped {
        anstream::eprintln!("{error}");
    }
    if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn start(site: &mut Site, story: &mut Story) -> Option<()> {
    let plan = *site.plan();
    let title = format!(
        "{} crypto nodes (any {} open), {} organisations ({} approve), and the platform",
        plan.nodes, plan.threshold, plan.organisations, plan.approvals
    );
    story
        .step("start", title, async {
            site.init_platform().await?;
            site.init_nodes().await?;
            site.start_nodes().await?;
            site.generate_key().await?;
            site.start_platform().await?;
            let key = site.public_key()?;
            Exchange::enrol(site, key).await?;
            Ok::<_, SiteError>((
                (),
                Told::new(format!("REST on {}, Y = {}", site.url(), hex::encode(key))),
            ))
        })
        .await
}

fn tell_next(site: &Site, story: &Story) {
    let own = std::env::current_exe()
        .map_or_else(|_| "threshold-exchange".to_owned(), |path| quoted(&path));
    let users = quoted(&site.layout().users());
    let profile = quoted(&site.layout().client_profile());
    let node = quoted(&site.layout().node("node-1"));
    let commands = [
        (
            format!("as {WRITER} put {DATASET} report README.md"),
            "write a document under the cluster's key",
        ),
        (
            format!("as {READER} get {DATASET} report --out copy.md"),
            "read it: 3 organisations approve, 3 nodes re-encrypt",
        ),
        (
            format!("as {STRANGER} get {DATASET} report --out no.md"),
            "nobody let her in",
        ),
        (
            format!("as {WRITER} revoke {DATASET} reader {READER}"),
            "takes effect on the very next read",
        ),
    ];
    story.heading("What to type next, in another terminal");
    story.say(&format!(
        "  export COORDINATOR_PROFILE={profile}\n  \
         as() {{ user=$1; shift; {own} coordinator --user \"$user\" --key {users}/\"$user\".pem \"$@\"; }}"
    ));
    for (command, meaning) in commands {
        story.say(&format!("  {command:<40} # {meaning}"));
    }
    for command in ["key list", "audit show", "status"] {
        story.say(&format!("  {own} cryptonode {command} --dir {node}"));
    }
    story.say("\nCtrl-C stops everything.");
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_typed_is_one_word() {
        assert_eq!(quoted(Path::new("/tmp/site-1")), "/tmp/site-1");
        assert_eq!(quoted(Path::new("/tmp/a b")), "'/tmp/a b'");
        assert_eq!(quoted(Path::new("/tmp/it's")), r"'/tmp/it'\''s'");
    }
}
